"""The words that the runtime adds for a base: in the system message, and in the branch of one step."""

from __future__ import annotations

from dataclasses import dataclass

from loraloop.tool_schemas.tools.render import HEADER

CALLS_HEADER = (
    "# Tools\n"
    'Reply with a JSON list of calls like [{"name":…,"arguments":{…}}], '
    "or [] if no tool fits or a required argument is missing."
)
"""The header that also says how calls are written. The skills of smollm2-135m were trained below it."""
CALL_FORM = (
    'Reply with a JSON list of the calls that my request needs now, like [{"name":…,"arguments":{…}}]. '
    "Reply with [] if no tool fits, if a required argument is missing, or if the results above are all that I need."
)


@dataclass(frozen=True, slots=True)
class Prompting:
    """Extra prompt text of a base. The defaults are for a base that follows instructions and reads JSON.

    All texts but the header are seen by the current step alone. They never enter the transcript, and an empty text is
    left out.

    Attributes:
        tools_header: Stands in the system message before the signatures of the tools.
        call_form: Tells a base that has no skill for calls how calls are written.
        call_openers: Characters with which a free answer must not begin where tools are listed, because an answer that
            begins with them is a call in the place of an answer.
        plain_words: Tells the base to answer in words, where its answer would begin with one of `call_openers`.
        after_result: Tells the base to answer, where the last message is the result of a tool.
        name_results: Whether `after_result` is followed by the results in words, where these are few short values.
        no_call: Tells the base to answer by itself, where the tools skill called nothing for the user's request.
        no_answer: Tells the base that a skill found no answer in the passages; `{titles}` stands for their documents.
        ask: Tells the base to ask the user for missing arguments; `{arguments}` stands for their names.
        answer_form: Whether the base is told the form of an answer that has an output type.
    """

    tools_header: str = HEADER
    call_form: str = CALL_FORM
    call_openers: str = "[{"
    plain_words: str = "Answer me in plain words."
    after_result: str = (
        "Now answer my message in one or two sentences, with the names, numbers, dates and times that I asked for. Say "
        "only what the results above say. Where a result is an error, say that it was not done, and why. Use the "
        "language of my message, and no code."
    )
    name_results: bool = False
    no_call: str = (
        "No tool was used. If you need a number, a name or a date from me to do this, ask me for it in one short "
        "question. Otherwise just answer me. Use the language of my message."
    )
    no_answer: str = (
        "I looked: the answer is not in {titles}. Reply with one sentence that says so, in the language of my message."
    )
    ask: str = (
        "You still need from me: {arguments}. Write one short question to me that asks for all of it, in the language "
        "in which I wrote to you. Do not guess a value."
    )
    answer_form: bool = True


READING = Prompting()
"""For a base that follows instructions and reads JSON."""
SMALL = Prompting(
    tools_header=CALLS_HEADER,
    call_form="",
    call_openers="[{`",
    after_result="Answer my question in one sentence, using the result above.",
    name_results=True,
    no_call="",
    ask="Ask me for {arguments}.",
    answer_form=False,
)
"""For a base of a hundred million parameters, which copies the JSON that it has seen and is distracted by rules."""
