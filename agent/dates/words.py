"""The words of dates in six languages, as data for `dates`.

A word list is a sequence of regular expressions; what follows a `;` counts only beside another word of a date (`sat`
alone is a verb). A phrase is a kind of meaning and a template: `{n}` a number, `{unit}`, `{weekday}`, `{month}`, `{d}`
a day of the month, `{year}`. The kind `none` marks words that look like a date and are none (`every Monday`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Language:
    """The date words of one language.

    Attributes:
        weekdays: Seven, Monday first.
        months: Twelve.
        numbers: The number words from one to twelve.
        units: `day`, `week`, `month`, `year`, `weekend`, `quarter` and `fortnight`.
        days: Words for one day, by its distance from today in days.
        phrases: Pairs of a kind and a template.
        past: Words that put a sentence into the past: a bare weekday or date in it has two readings, so it gets none.
        ordinals: The number words of the first, second, third and fourth of its weekdays in a month.
        rates: Words that make `in a day` a rate: *how many in a day*.
        moves: Words that make `from Monday to Thursday` a change in place of a span.
    """

    weekdays: tuple[str, ...]
    months: tuple[str, ...]
    numbers: tuple[str, ...]
    units: Mapping[str, str]
    days: Mapping[str, int]
    phrases: tuple[tuple[str, str], ...]
    past: str
    rates: str
    moves: str
    ordinals: tuple[str, ...] = ()


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_PREPOSITIONS = ("on", "by", "for", "from", "to", "until", "till", "before", "after", "about")
_ON = "(?:" + "|".join(rf"(?<={word}\s)" for word in _PREPOSITIONS) + ")"
_END = r"(?=\s*(?:[.,;:!?)]|$|\n)|\s(?:in(?!\sa\b)|at|and|or|for|from|until|till|to|with|by|please|instead|too|then)\b)"

ENGLISH = Language(
    weekdays=_words(
        "monday;mon tuesday|tues|tue wednesday;weds|wed thursday|thurs|thur|thu friday|fri saturday;sat sunday;sun"
    ),
    months=_words(
        "january;jan february;feb (?-i:March);mar april;apr (?-i:May) june;jun july;jul august;aug "
        "september;sept|sep october;oct november;nov december;dec"
    ),
    numbers=_words("an?|one two three four five six seven eight nine ten eleven twelve"),
    units={
        "day": "day;days",
        "week": "week;weeks",
        "month": "month;months",
        "year": "year;years",
        "weekend": "weekend",
        "fortnight": "fortnight;fortnights",
        "quarter": "quarter",
    },
    days={
        "(?:the )?day before yesterday": -2,
        "yesterday|last night": -1,
        "today|tonight|this (?:morning|afternoon|evening)": 0,
        "tomorrow": 1,
        "(?:the )?day after tomorrow": 2,
    },
    phrases=(
        (
            "ahead",
            r"(?<!once\s)(?<!twice\s)(?<!times\s)in {n} {unit}(?:['’]s?)?(?: time)?(?! (?:or|of|after|before)\b)",
        ),
        ("ahead", "{n} {unit} from (?:now|today)"),
        ("ago", "{n} {unit} ago"),
        ("later", r"{n} {unit} (?:later|after (?:that|then|it))(?! than)"),
        ("before", r"{n} {unit} (?:earlier|before (?:that|then|it))(?! than)"),
        ("later", rf"the day after(?: that\b| it\b|{_END})|the (?:next|following) day{_END}"),
        ("before", rf"the day before(?: that\b| it\b|{_END})"),
        ("shift", "(?:{n} {unit}|the day) (?:from|after)"),
        ("shift back", "(?:{n} {unit}|the day) before"),
        ("that", "that {weekday}"),
        ("following", "(?:the )?following (?:{weekday}|{period})"),
        ("same", "(?:the )?same (?:day|time)"),
        ("this", "this {x}"),
        ("next", r"(?<!the\s)next {x}"),
        ("coming", "(?:this )?(?:coming|upcoming) {x}"),
        ("last", r"(?<!the\s)last {x}"),
        ("after next", "(?:the )?{period} after next"),
        ("this weekend", "(?:at|on|for|by) the weekend"),
        ("period", "the {period}"),
        ("first of", "(?:the )?(?:beginning|start) of"),
        ("last of", "(?:the )?end of"),
        ("nth weekday", "(?:the )?(?:{nth}|(?<=the\\s)last) {weekday}"),
        ("month", "{month_alone}(?:,? (?:of )?{year})?"),
        ("in month", r"in {month_any}(?!\s(?:[A-Z][a-z]|\d|of\b))(?![-’']\w)"),
        ("date", r"{month}\.? {d}{th}?{numeral_end}(?:,? {year})?"),
        ("date", r"{month_any}\.? (?:the )?{d}{th}(?:,? {year})?"),
        ("date", r"{month}\.? {d}{th}? ?(?:[-–]|to|until|till|through) ?(?:the )?{d2}{th}?{numeral_end}(?:,? {year})?"),
        ("date", rf"{_ON}{{month_any}} {{d}}{{numeral_end}}{_END}"),
        ("date", rf"{_ON}{{d}} {{month_any}}{_END}"),
        ("date", r"{d} {month}\.?(?:,? {year})?"),
        ("date", r"{d}{th}(?: of)? {month_any}\.?(?:,? {year})?"),
        ("date", r"{d}{th}? ?(?:[-–]|to|until|till|through|and) ?(?:the )?{d2}{th}?(?: of)? {month}\.?(?:,? {year})?"),
        ("nth", rf"{_ON}the {{d}}{{th}}{_END}"),
        ("nth", r"the {d}{th}(?=\sat\s(?:\d|noon)|\s(?:to|until|till)\sthe\s\d)"),
        ("nth", "{weekday},? (?:the )?{d}{th}"),
        ("nth of", "(?:the )?{d}{th} of"),
        ("weekday", rf"(?:(?<=\bon\s)|(?<=\bby\s)){{weekday}}(?:(?=\s\d)|{_END})"),
        ("date", rf"{_ON}(?P<slash>\d{{1,2}}/\d{{1,2}}){_END}"),
        ("date", r"(?P<slashed>\d{1,2}(?P<sep>[/-])\d{1,2}(?P=sep)\d{4})"),
        ("none", "(?:an?|every|each|any|most|another|one|some|all|no|(?:every )?other) {weekday}"),
        ("none", "(?:every|each) (?:{nth}|last|single) {weekday}"),
        ("none", "(?:every|each|once|twice|times) {n} {unit}(?: (?:from|after|before)(?: (?:that|then|it))?)?"),
        ("none", "(?:black|cyber|ash|palm|holy|good|easter) {weekday}"),
        ("none", "(?:{n} {unit} on )?{weekday} (?:week|fortnight|mornings|afternoons|evenings|nights)"),
        ("none", "{n} {unit} on {weekday}"),
        ("none", "{weekday} (?:after next|before last)"),
        ("none", "the {weekday} (?:before|after)"),
        ("none", r"{weekday} (?:before|after)(?=\s(?:\d\S*\s(?:of\s)?)?{month_any}\b)"),
        ("none", "(?:(?:today|tomorrow) week|{n} (?:weeks?|fortnights?) (?:today|tomorrow))"),
        ("none", "usa today"),
    ),
    past=r"did|didn['’]t|was(?!\s(?:wondering|hoping|thinking))|wasn['’]t|were|had|been|since|came|went|arrived|happened|sold"
    r"|(?<!be\s)(?:ordered|bought|paid|sent|placed|received|returned)",
    rates="how (?:many|much|often)|per|each|average",
    moves="move|moved|change|changed|reschedule|switch|shift|postpone|push",
    ordinals=("first|1st", "second|2nd", "third|3rd", "fourth|4th"),
)

GERMAN = Language(
    weekdays=_words("montag dienstag mittwoch donnerstag freitag samstag|sonnabend sonntag"),
    months=_words("januar|jänner februar märz april mai juni juli august september oktober november dezember"),
    numbers=_words("eine[mnrs]? zwei drei vier fünf sechs sieben acht neun zehn elf zwölf"),
    units={
        "day": "tag;tage|tagen",
        "week": "woche;wochen",
        "month": "monats|monat;monate|monaten",
        "year": "jahres|jahr;jahre|jahren",
        "weekend": "wochenende",
        "quarter": "quartals|quartal;quartale|quartalen",
    },
    days={
        "vorgestern": -2,
        "gestern": -1,
        "heute": 0,
        r"(?-i:morgen)|morgen(?=\s(?:um|früh|ab|bis|gegen|abend|mittag|vormittag|nachmittag)\b)": 1,
        "übermorgen": 2,
    },
    phrases=(
        ("ahead", "in {n} {unit}"),
        ("ago", "vor {n} {unit}"),
        ("later", "{n} {unit} (?:später|danach)|am (?:tag danach|nächsten tag|folgenden tag|tag darauf)"),
        ("that", "(?:an )?(?:dem|jenem) {weekday}"),
        ("following", "(?:am |der |den |die |das )?(?:darauf)?folgende[nmrs]? (?:{weekday}|{period})"),
        ("following", "(?:am |der |den |die |das )?(?:{weekday}|{period}) (?:darauf|danach)"),
        ("same", "(?:selbe|gleiche)[nmrs]? (?:tag|zeit)"),
        ("this", "diese[nmrs]? {x}"),
        ("next either", "nächste[nmrs]? {x}"),
        ("coming", "kommende[nmrs]? {x}"),
        ("last", "(?:letzte|vergangene|vorige)[nmrs]? {x}"),
        ("after next", "übernächste[nmrs]? {period}"),
        ("this weekend", "(?:am|übers) wochenende"),
        ("period", "(?:des|der) {unit}"),
        ("last of", "ende|am ende"),
        ("last of", "(?:am )?ende de[rs]"),
        ("first of", "anfang|am anfang"),
        ("first of", "(?:am )?anfang de[rs]"),
        ("last of month", "(?:ende des monats|monatsende)"),
        ("month", "{month_alone} {year}"),
        ("in month", r"im {month_any}"),
        ("date", r"{d}\. ?{month}(?:,? {year})?"),
        ("date", r"{d}\. ?(?:[-–]|bis(?: zum)?) ?{d2}\. ?{month}(?:,? {year})?"),
        ("date", r"(?P<german>\d{1,2}\.\d{1,2}\.(?:\d{4})?)"),
        ("nth", r"(?:(?<=am\s)|(?<=zum\s)|(?<=vom\s)|(?<=ab\sdem\s)){d}\.(?=\s+(?:um|ab|bis|gegen)\b|\s*$)"),
        ("nth weekday", "(?:der |am |den )?{nth}[nrm]? {weekday}"),
        ("none", "(?:jede[nrms]?|eine[nm]?|alle|letzte[nrm]? im)(?: (?:{nth}|letzte)[nrm]?)? {weekday}"),
        ("none", "(?:guten|heute|gestern|am|jeden|schönen|diesen) morgen"),
        ("none", "(?:übernächste|vorletzte)[nmrs]? {weekday}"),
        ("none", "{weekday} in {n} tagen"),
    ),
    past=r"seit|war|waren|hatte|hatten|wurde|wurden"
    r"|(?-i:[Hh]ab(?:e|en|t)?\b[^.!?]*\b(?:(?:ab|an|auf|aus|ein|mit|zurück)?ge\w+(?:t|en)"
    r"|(?:be|er|ent|ver)\w{3,}t|bekommen|erhalten|verloren|vergessen))"
    r"|(?:bin|ist|sind)\b[^.!?]*\b\w*ge(?:kommen|gangen|fahren|reist)",
    rates="wie (?:viele?|oft)|pro|je",
    moves="verschiebe|verschieben|verleg\\w*|änder\\w*",
    ordinals=("erste", "zweite", "dritte", "vierte"),
)

FRENCH = Language(
    weekdays=_words("lundi mardi mercredi jeudi vendredi samedi dimanche"),
    months=_words("janvier février (?-i:mars) avril mai juin juillet août septembre octobre novembre décembre"),
    numbers=_words("une? deux trois quatre cinq six sept huit neuf dix onze douze"),
    units={
        "day": "jour;jours",
        "week": "semaine;semaines",
        "month": "mois",
        "year": "année;ans?",
        "weekend": "week-?end",
        "fortnight": "quinze jours",
        "quarter": "trimestre",
    },
    days={
        "avant-hier": -2,
        "hier (?:soir|matin|après-midi)": -1,
        "aujourd['’]hui|ce soir|ce matin|cet après-midi": 0,
        "demain": 1,
        "après-demain": 2,
        "aujourd['’]hui en huit": 7,
        "demain en huit": 8,
        "aujourd['’]hui en quinze": 14,
        "demain en quinze": 15,
        "après-demain en huit": 9,
        "après-demain en quinze": 16,
    },
    phrases=(
        ("ahead", "dans {n} {unit}"),
        ("ahead", "dans (?P<unit>quinze jours)"),
        ("ago", "il y a {n} {unit}"),
        ("ago", "il y a (?P<unit>quinze jours)"),
        ("that", "ce {weekday}-là"),
        ("following", "(?:le |la |l['’])?(?:{weekday}|{period}) suivante?"),
        ("same", "même (?:jour|heure)"),
        ("last of", "fin d[eu]|fin"),
        ("first of", "début d[eu]|début"),
        ("later", "{n} {unit} plus tard|le lendemain|le jour suivant"),
        ("this", "(?:ce|cet|cette) {x}"),
        ("coming", "(?:le |la |l['’])?{x} prochaine?"),
        ("coming", "{weekday} qui vient"),
        ("last", "(?:le |la |l['’])?{x} (?:derni(?:er|ère)|passée?)"),
        ("last of month", "(?:la )?fin du mois(?! (?:prochain|suivant|dernier))"),
        ("month", "{month_alone} {year}"),
        ("in month", "en {month_any}"),
        ("date", "{d}(?:er)? {month}(?: {year})?"),
        ("date", "{d}(?:er)? (?:au|-|–) {d2} {month}(?: {year})?"),
        ("nth weekday", "(?:le )?(?:{nth}|dernier) {weekday}"),
        ("none", "(?:chaque|tous les|un|le) {weekday}"),
        ("none", "(?:à|après) demain"),
        ("none", "{weekday} (?:en|dans) (?:huit|quinze)(?: jours)?"),
    ),
    past=r"depuis|étai(?:t|ent)|avait|(?:ai|as|a|avons|avez|ont)\s\w+(?:é|u|is|it)e?s?"
    r"|(?:suis|est|sommes|êtes|sont)\s(?:pas\s)?(?:arrivé|venu|allé|parti|passé)e?s?",
    rates="combien|par",
    moves="déplace[rz]?|décale[rz]?|change[rz]?|reporte[rz]?",
    ordinals=("premier|1er", "deuxième|second|2e", "troisième|3e", "quatrième|4e"),
)

SPANISH = Language(
    weekdays=_words("lunes martes miércoles jueves viernes sábado domingo"),
    months=_words("enero febrero marzo abril mayo junio julio agosto septiembre|setiembre octubre noviembre diciembre"),
    numbers=_words("una? dos tres cuatro cinco seis siete ocho nueve diez once doce"),
    units={
        "day": "día;días",
        "week": "semana;semanas",
        "month": "mes;meses",
        "year": "año;años",
        "weekend": "fin de semana",
        "quarter": "trimestre",
    },
    days={
        "anteayer|antes de ayer": -2,
        "ayer": -1,
        "hoy|esta (?:noche|tarde|mañana)": 0,
        "mañana": 1,
        "pasado mañana": 2,
    },
    phrases=(
        ("ahead", "(?:dentro de|en) {n} {unit}"),
        ("ago", "hace {n} {unit}"),
        ("later", "{n} {unit} (?:después|más tarde)|(?:al|el) día siguiente"),
        ("that", "es[ea] {weekday}"),
        ("following", "(?:el |la )?(?:{weekday}|{period}) siguiente"),
        ("same", "mism[oa] (?:día|hora)"),
        ("last of", "(?:fin|final|fines|finales) del?"),
        ("first of", "(?:principio|principios|comienzo|comienzos) del?"),
        ("this", "(?:este|esta) {x}"),
        ("coming", "(?:el |la )?próxim[oa] {x}"),
        ("coming", "(?:el |la )?{x} (?:próxim[oa]|que viene)"),
        ("last", r"(?:el |la )?(?:pasad[oa]|últim[oa]) {x}(?!\sdel?\b)"),
        ("last", "(?:el |la )?{x} pasad[oa]"),
        ("last of month", "(?:a )?(?:fin|finales) de mes"),
        ("month", "{month_alone} (?:de )?{year}"),
        ("in month", "en {month_any}"),
        ("date", "{d} de {month}(?: (?:de |del )?{year})?"),
        ("date", "{d} (?:al|a|-|–) {d2} de {month}(?: (?:de |del )?{year})?"),
        ("nth weekday", r"(?:el )?(?:{nth}|último(?=\s\S+\sdel?\b)) {weekday}"),
        ("none", "(?:cada|todos los|los|un) {weekday}"),
        ("none", "(?:la|cada|buena|por la|de la) mañana"),
    ),
    past=r"(?:he|ha|hemos|han)\s\w+(?:ado|ido)|fue|fueron|era|estaba|hizo|había"
    r"|pedí|pidió|compré|compró|pagué|recibí|envié|envió|devolví|llegó|llegaron|vino|ocurrió",
    rates="cuánt[oa]s?|por",
    moves="mueve|mover|cambia|cambiar|aplaza|aplazar",
    ordinals=("primer|1er", "segundo", "tercer", "cuarto"),
)

ITALIAN = Language(
    weekdays=_words("luned[iì] marted[iì] mercoled[iì] gioved[iì] venerd[iì] sabato domenica"),
    months=_words("gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre"),
    numbers=_words("una?|un['’] due tre quattro cinque sei sette otto nove dieci undici dodici"),
    units={
        "day": "giorno;giorni",
        "week": "settimana;settimane",
        "month": "mese;mesi",
        "year": "anno;anni",
        "weekend": "fine settimana|weekend",
        "quarter": "trimestre",
    },
    days={"l['’]altro ieri|avantieri": -2, "ieri": -1, "oggi|stasera|stamattina": 0, "domani": 1, "dopodomani": 2},
    phrases=(
        ("ahead", "(?:fra|tra) {n} {unit}"),
        ("ago", "{n} {unit} fa"),
        ("later", "{n} {unit} dopo|il giorno (?:dopo|seguente|successivo)"),
        ("none", "fine settimana prossima"),
        ("that", "quell?a? {weekday}"),
        ("following", "(?:il |la |l['’])?(?:{weekday}|{period}) (?:seguente|successiv[oa])"),
        ("same", "stess[oa] (?:giorno|ora)"),
        ("last of", "fine (?:di|della?)|fine"),
        ("first of", "inizio (?:di|della?)|inizio"),
        ("this", "quest[oa] {x}"),
        ("coming", "(?:il |la |l['’])?prossim[oa] {x}"),
        ("coming", "(?:il |la |l['’])?{x} prossim[oa]"),
        ("last", r"(?:lo |la |l['’])?(?:scors[oa]|ultim[oa]) {x}(?!\sd(?:i|el)\b)"),
        ("last", "(?:il |lo |la |l['’])?{x} scors[oa]"),
        ("last of month", "(?:a )?fine mese"),
        ("month", "{month_alone} {year}"),
        ("in month", "(?:in|a) {month_any}"),
        ("date", "{d}[°º]? {month}(?: {year})?"),
        ("date", "{d} (?:al|-|–) {d2} {month}(?: {year})?"),
        ("nth weekday", r"(?:il |la |l['’])?(?:{nth}|ultim[oa](?=\s\S+\sd(?:i|el)\b)) {weekday}"),
        ("none", "(?:ogni|tutti i|tutte le|il|la|un|una) {weekday}"),
    ),
    past=r"era|erano|stat[oaie]|aveva"
    r"|(?:ho|hai|ha|abbiamo|hanno)\s(?:\w+(?:ato|uto|ito)|preso|fatto|messo|speso|chiesto|perso)"
    r"|(?:sono|sei|è|siamo)\s(?:arrivat|venut|andat|partit|tornat)[oaie]",
    rates="quant[oiae]|al",
    moves="sposta|spostare|cambia|cambiare",
    ordinals=("prim[oa]", "second[oa]", "terz[oa]", "quart[oa]"),
)

DUTCH = Language(
    weekdays=_words("maandag dinsdag woensdag donderdag vrijdag zaterdag zondag"),
    months=_words("januari februari maart april mei juni juli augustus september oktober november december"),
    numbers=_words("een|één twee drie vier vijf zes zeven acht negen tien elf twaalf"),
    units={
        "day": "dag;dagen",
        "week": "week;weken",
        "month": "maand;maanden",
        "year": "jaar;jaren",
        "weekend": "weekend",
        "quarter": "kwartaal",
    },
    days={
        "eergisteren": -2,
        "gisteren": -1,
        "vandaag|vanavond|vanmiddag|vanmorgen": 0,
        "(?:morgen)(?:avond|ochtend|middag)": 1,
        "overmorgen": 2,
    },
    phrases=(
        ("ahead", "over {n} {unit}"),
        ("ago", "{n} {unit} geleden"),
        ("later", "{n} {unit} later|de (?:dag erna|volgende dag)"),
        ("that", "die {weekday}"),
        ("following", "(?:de |het )?(?:{weekday}|{period}) (?:erna|daarna|daarop)"),
        ("same", "(?:de)?zelfde (?:dag|tijd)"),
        ("last of", "einde? van(?: de| het)?|einde?"),
        ("first of", "begin van(?: de| het)?|begin"),
        ("this", "(?:deze|dit) {x}"),
        ("next", "volgende? {x}"),
        ("coming", "(?:komende?|aanstaande) {x}"),
        ("last", "(?:vorige?|afgelopen) {x}"),
        ("last of month", "(?:het )?einde? van de maand"),
        ("month", "{month_alone} {year}"),
        ("in month", r"in {month_any}(?!\s(?:[A-Z][a-z]|\d|of\b))"),
        ("date", "{d} {month}(?: {year})?"),
        ("date", "{d} (?:tot|tot en met|t/m|-|–) {d2} {month}(?: {year})?"),
        ("nth weekday", "(?:de )?(?:{nth}|laatste) {weekday}"),
        ("none", "(?:elke|iedere|een)(?: (?:{nth}|laatste))? {weekday}"),
        ("none", "(?:goede|de|elke) morgen"),
    ),
    past=r"sinds|was|waren|had|hadden"
    r"|heb(?:t|ben)?\b[^.!?]*\b(?:(?:op|af|aan|in|terug)?ge\w+|(?:be|ver)\w{3,}[dt]|ontvangen)"
    r"|(?:ben|is|zijn)\b[^.!?]*\b\w*ge(?:komen|gaan|bracht|leverd)",
    rates="hoe (?:veel|vaak)|hoeveel|per",
    moves="verplaats\\w*|verzet\\w*",
    ordinals=("eerste|1e", "tweede|2e", "derde|3e", "vierde|4e"),
)

LANGUAGES = (ENGLISH, GERMAN, FRENCH, SPANISH, ITALIAN, DUTCH)

CURRENT = (
    r"\b(?:today|current (?:date|day)|the date|it is|it['’]s|heute|aktuelles datum|aujourd['’]hui|nous sommes"
    r"|date actuelle|date du jour|hoy|fecha actual|estamos a|oggi|data (?:odierna|attuale)|vandaag|huidige datum)\b"
    r"(?:['’]s date)?(?:[\s:=(,–-]|\b(?:and|time|is|ist|est|es|è|het|now|currently|le|der|den|el|il|la)\b)*$"
)
FROM = r"(?:from|between|von|vom|du|de|del|desde el|desde|da|dal|van)\s+(?:the\s+)?"
TO = r"(?:to|till|until|through|and|bis(?:\s+zum)?|au|à|al|a|hasta\s+el|hasta|fino\s+a|tot(?:\s+en\s+met)?|t/m)"
ALSO = rf"\s*(?:[,/&–-]|\b(?:or|und|oder|et|ou|y|o|e|en|of|{TO})\b)\s*(?:(?:the|on|le|el)\s)?"
EITHER_SIDE = r"\s*,?\s*(?:(?:of|on|the|am|der|de|la|du|del|della|van|op|el)\s+)*"
"""What stands before the current date, and the words that join: before a span, inside a span, between weekdays that
share a week, and beside that week."""
