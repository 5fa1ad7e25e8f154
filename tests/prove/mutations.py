"""Which edit disables which guard, and the test that has to fail then.

Each test has edits of (file, text, replacement); a text stands in its file exactly once. The test is one that a row of
docs/threat-model.md or of SECURITY.md names, or that holds another promise of the documentation.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    """An edit of one file, which a test has to notice."""

    file: str
    text: str
    replacement: str
    test: str


AGENT = "agent"
SERVER = "src/loraloop/server"
PAGE = f"{SERVER}/page"
HTTP = "tool_schemas/http"
SCHEMA = "tool_schemas/schema"
GRAMMAR = "tool_schemas/grammar"
MCP = "tool_schemas/mcp"

TABLE: dict[str, list[tuple[str, str, str]]] = {
    # --- tool_schemas ------------------------------------------------------------------------------------------------
    "tool_schemas/http/test_guard.py::test_no_spelling_of_this_machine_gets_through": [
        (f"{HTTP}/policy.py", "if kind is None or any(", "if True or any("),
    ],
    "tool_schemas/http/test_guard.py::test_rebinding": [
        (f"{HTTP}/transport.py", "[(address, self._policy.refusal(address))", "[(address, None)"),
    ],
    "tool_schemas/http/test_guard.py::test_rebinding_in_a_redirect": [
        (f"{HTTP}/transport.py", "[(address, self._policy.refusal(address))", "[(address, None)"),
    ],
    "tool_schemas/http/test_places.py::test_two_arguments_of_one_segment_do_not_lead_out_together": [
        (f"{HTTP}/request.py", "(not text or leads_out(text))", "not text"),
    ],
    "tool_schemas/http/test_places.py::test_what_some_servers_take_for_the_folder_above_is_not_sent": [
        (f"{HTTP}/places.py", 'part.partition(";")[0].strip() in', "part in"),
        (f"{HTTP}/places.py", 'unicodedata.normalize("NFKC", each)', "each"),
        (f"{HTTP}/places.py", "for _ in range(4):", "for _ in range(0):"),
    ],
    "tool_schemas/http/test_trust.py::test_another_host_gets_no_credentials": [
        (f"{HTTP}/client.py", "return ports[0] == ports[1]", "return True"),
    ],
    "tool_schemas/http/test_trust.py::test_another_host_at_the_same_port_gets_no_credentials": [
        (f"{HTTP}/client.py", "if url.host != origin.host:", "if False:"),
    ],
    "tool_schemas/http/test_trust.py::test_credentials_stay_with_their_origin": [
        (f"{HTTP}/client.py", "return (origin.scheme, url.scheme, *ports) ==", "return True or"),
    ],
    "tool_schemas/http/test_trust.py::test_any_secret_is_taken_out": [
        (f"{HTTP}/auth.py", "%(?:25)*{byte:02x}", "%{byte:02x}"),
        (f"{HTTP}/auth.py", 'f"u{code:04x}", ', ""),
        (f"{HTTP}/auth.py", 'f"&(?:amp;)*#0*{code};", ', ""),
        (f"{HTTP}/auth.py", "base64.b64encode, base64.urlsafe_b64encode", "base64.b64encode,"),
        (f"{HTTP}/auth.py", '"".join(map(_spelled, secret))', '"".join(map(_spelled, secret[: len(secret) // 2]))'),
        (f"{HTTP}/auth.py", "{self.text(str(key)): self.value", "{str(key): self.value"),
    ],
    "tool_schemas/http/test_client.py::test_a_body_without_end_is_not_read": [
        (f"{HTTP}/client.py", "read(stream, received, sending.max_bytes, end)", "read(stream, received, 1 << 40, end)"),
    ],
    "tool_schemas/http/test_client.py::test_a_drip_ends_with_the_deadline": [
        (f"{HTTP}/transport.py", "left = min(self.end - monotonic(), float", "left = min(self.end + 3 - monotonic(), float"),
    ],
    "tool_schemas/http/test_client.py::test_what_follows_a_compressed_body_is_not_read": [
        (f"{HTTP}/body.py", "if machine.eof:", "if False:"),
    ],
    "tool_schemas/http/test_client.py::test_a_server_cannot_choose_a_slow_codec": [
        (f"{HTTP}/body.py", "if codec.name not in _CHARSETS:", "if False:"),
    ],
    "tool_schemas/http/test_client.py::test_a_page_of_an_error_is_excerpted_in_bounded_time": [
        (f"{HTTP}/body.py", "|<[^<>]*>", "|<[^>]*>"),
    ],
    "tool_schemas/schema/test_hostile.py::test_a_hostile_schema_is_bounded": [
        (f"{SCHEMA}/normal.py", "if len(text) > LONGEST:", "if False:"),
        (f"{SCHEMA}/normal.py", "if levels(copy) > _DEEPEST_JSON:", "if False:"),
        (f"{SCHEMA}/places.py", "if count > MOST_PLACES:", "if False:"),
        (f"{SCHEMA}/places.py", "if depth > deepest:", "if False:"),
    ],
    "tool_schemas/schema/test_hostile.py::test_nothing_that_a_schema_refers_to_is_read": [
        (f"{SCHEMA}/normal.py", "registry: Registry[Any] = Registry()", """def read(uri: str) -> Any:
        import json, urllib.request
        return Resource.from_contents(json.load(urllib.request.urlopen(uri)), default_specification=specification)
    registry: Registry[Any] = Registry(retrieve=read)"""),
    ],
    "tool_schemas/schema/test_hostile.py::test_validation_gives_up_a_pattern_that_runs_on": [
        (f"{SCHEMA}/validation.py", "regex.search(pattern, text, timeout=SECONDS)", "regex.search(pattern, text, timeout=2)"),
    ],
    "tool_schemas/schema/test_hostile.py::test_a_pattern_with_too_many_repeats_is_refused_before_it_is_compiled": [
        (f"{SCHEMA}/formats.py", "return math.prod(counts) > most", "return False"),
    ],
    "tool_schemas/schema/test_hostile.py::test_values_that_would_take_for_ever_are_checked_in_bounded_work": [
        (f"{SCHEMA}/validation.py", "        _spend(10)\n", ""),
        (f"{SCHEMA}/validation.py", "    _spend(1)\n", ""),
        (f"{SCHEMA}/validation.py", "len(str(value)) <= 4096 and template(value)", "template(value)"),
        (f"{SCHEMA}/validation.py", '    "uniqueItems": _unique_items,\n', ""),
    ],
    "tool_schemas/grammar/test_prepare.py::test_preparing_raises_nothing_but_the_librarys_own_errors": [
        (f"{SCHEMA}/normal.py", "if isinstance(place.get(key), float):", "if False:"),
        (f"{SCHEMA}/findings.py", "sorted(found, key=lambda each: -len(each.parts))", "found"),
    ],
    "tool_schemas/grammar/test_prepare.py::test_what_the_schema_of_its_draft_does_not_look_at_is_checked_too": [
        (f"{SCHEMA}/normal.py", "check_form(target, draft, path)", "pass"),
        (f"{SCHEMA}/normal.py", "if not isinstance(definitions, dict):", "if False:"),
        (f"{SCHEMA}/normal.py", "check_form(copy, 2020)", "pass"),
    ],
    "tool_schemas/grammar/test_effort.py::test_a_search_for_an_end_computes_a_bounded_number_of_masks": [
        (f"{GRAMMAR}/effort.py", "self._left -= 1", "pass"),
    ],
    "tool_schemas/grammar/test_effort.py::test_a_search_for_an_end_stops_when_it_is_asked_to": [
        (f"{GRAMMAR}/effort.py", "if not self.stopped and self._stop is not None and self._stop():", "if False:"),
    ],
    "tool_schemas/grammar/test_effort.py::test_preparing_schemas_stops_when_it_is_asked_to": [
        (f"{GRAMMAR}/prepare.py", "        check_going_on()\n", ""),
    ],
    "tool_schemas/grammar/test_special_tokens.py::test_a_call_that_spells_a_special_token_is_forced_as_text": [
        (f"{GRAMMAR}/matcher.py", "eos_id, tokenizer.encode", "eos_id, lambda text: tokenizer.backend.encode(text).ids"),
    ],
    "tool_schemas/mcp/test_server.py::test_a_list_without_end": [
        (f"{MCP}/session.py", "if cursor in seen or len(tools) + len(self._sieve.taken) > _TOOLS:\n                break", "if cursor in seen: return tools, []"),
    ],
    "tool_schemas/mcp/test_server.py::test_a_result_that_is_too_large": [
        (f"{MCP}/server.py", "> self.options.max_bytes:", "> 1 << 40:"),
    ],
    "tool_schemas/mcp/test_server.py::test_a_slow_call_times_out_and_is_cancelled_at_the_server": [
        (f"{MCP}/server.py", "anyio.fail_after(seconds)", "anyio.fail_after(30)"),
    ],
    "tool_schemas/mcp/test_server.py::test_lines_that_are_no_messages": [
        (f"{MCP}/session.py", "if len(self._stray) >= _STRAY and self._scope is not None:", "if False:"),
    ],
    "tool_schemas/openapi/test_choice.py::test_names_of_a_hostile_document_are_made_in_bounded_time": [
        ("tool_schemas/openapi/selection.py", "same.get(stem, 1)", "1"),
        ("tool_schemas/openapi/selection.py", "stem[: 4 * _LONGEST]", "stem"),
    ],
    "tool_schemas/test_yamltext.py::test_cycles_and_bombs_are_found": [
        ("tool_schemas/yamltext.py", "if id(each) in inside:", "if False:"),
        ("tool_schemas/yamltext.py", "left -= 1", "left -= 0"),
    ],
    "fuzz/test_targets.py::test_mutations": [
        ("agent/values/checkpoint.py", "except pydantic.ValidationError as error:", "except ZeroDivisionError as error:"),
        ("tool_schemas/openapi/selection.py", "if isinstance(item[method], dict):", "if True:"),
        ("agent/tracing/trace.py", "except pydantic.ValidationError as error:", "except ZeroDivisionError as error:"),
    ],
    # --- adapters and kernels ----------------------------------------------------------------------------------------
    "adapters/bank/test_bank.py::test_finite_weights_that_no_product_survives_are_refused": [
        ("adapters/payload/slots.py", "if not largest <= LARGEST:", "if False:"),
    ],
    "adapters/base/test_base_forms.py::test_a_config_that_its_weights_contradict_is_refused": [
        ("adapters/base/loading/convert.py", "if tuple(values.shape) != shape:", "if False:"),
    ],
    "adapters/base/test_base_forms.py::test_damaged_folders_raise_nothing_but_the_librarys_own_errors": [
        ("adapters/base/loading/source.py", "    except BaseException as error:\n", "    except ZeroDivisionError as error:\n"),
    ],
    "adapters/base/test_tokenizer.py::test_other_threads_run_while_a_long_text_is_encoded": [
        ("adapters/base/tokenizer.py", "if len(text) < _LONG:", "if True:"),
    ],
    "adapters/skill/test_replacing.py::test_a_name_that_leads_elsewhere_is_refused": [
        ("adapters/skill/registry.py", "if not re.fullmatch(store.NAME, name) or name == store.ROUTERS:", "if False:"),
    ],
    "adapters/skill/test_replacing.py::test_readers_never_fail_while_a_skill_is_registered_again": [
        ("adapters/skill/store.py", "if attempt == ATTEMPTS - 1 or (", "if True or ("),
    ],
    "adapters/skill/test_skill.py::test_a_card_that_is_nested_too_deeply_is_refused": [
        ("adapters/skill/card.py", "except RecursionError:", "except ZeroDivisionError:"),
    ],
    "adapters/skill/test_skill.py::test_a_pattern_of_a_card_cannot_hold_up_who_loads_it": [
        ("adapters/payload/pairs.py", "pattern_found(rf", "__import__('re').search(rf"),
    ],
    "adapters/skill/test_skill.py::test_patterns_of_a_card_are_checked": [
        ("adapters/payload/pairs.py", "if too_many_repeats(pattern):", "if False:"),
        ("adapters/payload/pairs.py", "if found is None:", "if False:"),
    ],
    "adapters/skill/test_skill.py::test_no_damage_goes_unnoticed": [
        ("adapters/skill/store.py", "if sha256 and hashlib.sha256(data).hexdigest() != sha256:", "if False:"),
    ],
    "adapters/skill/test_skill.py::test_values_must_be_finite": [
        ("adapters/skill/store.py", "    check_finite(decoded, str(path))\n", ""),
    ],
    "adapters/skill/test_skill.py::test_codes_and_scales_belong_together": [
        ("adapters/skill/store.py", "if axis is None or len(shape) != 2:", "if False:"),
        ("adapters/skill/store.py", 'if dtype != "F32" or scales !=', "if False and scales !="),
    ],
    "adapters/skill/test_skill.py::test_damaged_files": [
        ("adapters/skill/store.py", "if size != promised:", "if False:"),
    ],
    "kernels/test_memory.py::test_what_a_forked_child_writes_is_its_own": [
        ("kernels/cpu/memory.py", "flags=mmap.MAP_PRIVATE |", "flags=mmap.MAP_SHARED |"),
    ],
    # --- agent: engine -----------------------------------------------------------------------------------------------
    "agent/engine/test_scheduler.py::test_a_trunk_is_whole_after_a_bad_skill": [
        (f"{AGENT}/engine/cache/sequence.py", "if not finite and not bool(", "if False and not bool("),
        (f"{AGENT}/engine/scheduler.py", "finite = isfinite(out.hidden.sum().item())", "finite = True"),
    ],
    "agent/engine/test_scheduler.py::test_a_context_of_a_bad_skill_that_acts_on_all_of_it_is_not_kept": [
        (f"{AGENT}/engine/trunk.py", "elif not sequence.broken:", "else:"),
    ],
    "agent/engine/test_scheduler.py::test_positions_that_are_dropped_leave_nothing_behind": [
        ("adapters/base/decoder/native_cache.py", "self.pages[-1].clear(length % PAGE, ", "print(length, "),
        ("adapters/base/decoder/native_cache.py", "                place.data.zero_()\n", "                pass\n"),
    ],
    # --- agent: fallback ---------------------------------------------------------------------------------------------
    "agent/loop/test_fallback.py::test_steps_that_are_not_handed_over": [
        (f"{AGENT}/loop/run.py", "is not None and is_handed_over(plan.decision, self.steps):", "is not None:"),
        (f"{AGENT}/loop/route.py", 'last.outcome == "flawed" or last.decided_by == "repair")', "True)"),
    ],
    "agent/loop/test_fallback.py::test_a_call_of_the_fallback_passes_every_check": [
        (f"{AGENT}/loop/run.py", "ungrounded=self._values.refused,", "ungrounded=lambda calls: (),"),
    ],
    "agent/loop/test_fallback.py::test_the_guard_judges_before_the_text_leaves_and_what_comes_back": [
        (f"{AGENT}/loop/run.py", 'elif self._job.guard.output is not None and contract != "verdict":', "elif False:"),
    ],
    "agent/loop/test_fallback.py::test_a_fallback_that_does_not_write_changes_nothing": [
        (f"{AGENT}/engine/remote/fallback.py", "except LoraloopError as error:", "except ZeroDivisionError as error:"),
        (f"{AGENT}/engine/remote/server.py", "    if not fits:\n", "    if False:\n"),
    ],
    "agent/loop/test_fallback.py::test_where_the_router_abstains_the_fallback_writes_and_the_trace_says_so": [
        (f"{AGENT}/engine/remote/fallback.py", 'f"Fallback({self.url!r}, {self.model!r})"', "str(self._server._options)"),
    ],
    # --- agent: sandbox ----------------------------------------------------------------------------------------------
    "agent/sandbox/test_escapes.py::test_links_do_not_lead_out_of_the_scratch_folder": [
        (f"{AGENT}/sandbox/job.py", 'READABLE = ("/usr",', 'READABLE = (*glob.glob("/tmp/pytest-of-*"), "/usr",'),
    ],
    "agent/sandbox/test_sandbox.py::test_what_the_kernel_allows_works": [
        (f"{AGENT}/sandbox/bubblewrap.py", '"--unshare-all",', '"--no-such-option",'),
    ],
    "agent/sandbox/test_escapes.py::test_no_socket_of_any_family": [
        (f"{AGENT}/sandbox/seccomp.py", "*(57, 58, 41, 101,", "*(57, 58, 101,"),
    ],
    "agent/sandbox/test_escapes.py::test_signals_reach_neither_the_caller_nor_its_group": [
        (f"{AGENT}/sandbox/seccomp.py", 'tests += [(_JUMP_EQUAL, number, "signal") for number in calls.signals]', "pass"),
        (f"{AGENT}/sandbox/seccomp.py", "signals=(62, 200, 234, 129, 297),", "signals=(200, 234, 129, 297),"),
    ],
    "agent/sandbox/test_escapes.py::test_the_kernels_memory_cannot_be_used_up_beside_the_limits": [
        (f"{AGENT}/sandbox/seccomp.py", "*(188, 189, 190, 463, 206, 222,", "*(206, 222,"),
        (f"{AGENT}/sandbox/seccomp.py", "*(188, 189, 190, 463, 206, 222,", "*(188, 189, 190, 463,"),
        (f"{AGENT}/sandbox/job.py", '"RLIMIT_SIGPENDING": 64,', ""),
    ],
    "agent/sandbox/test_escapes.py::test_calls_that_take_memory_of_the_kernel_are_refused_before_they_look_at_anything": [
        (f"{AGENT}/sandbox/seccomp.py", "*range(442, 449))", "*range(447, 449))"),
        (f"{AGENT}/sandbox/seccomp.py", "253, 294, 46, 307),", "46, 307),"),
    ],
    "agent/sandbox/test_escapes.py::test_what_a_program_writes_cannot_be_hidden": [
        (f"{AGENT}/sandbox/scratch.py", "size + _deleted(pid, os.fsencode(self.path), self._bytes), files", "size, files"),
        (f"{AGENT}/sandbox/seccomp.py", "253, 294, 46, 307),", "253, 294),"),
        (f"{AGENT}/sandbox/seccomp.py", "197, 198, 199, 466, 469, 285)", "197, 198, 199, 466, 469)"),
    ],
    "agent/sandbox/test_escapes.py::test_files_below_very_long_paths_are_counted": [
        (f"{AGENT}/sandbox/scratch.py", "inner.append(entry.name)", "pass"),
    ],
    "agent/sandbox/test_escapes.py::test_a_scratch_folder_of_any_depth_is_removed": [
        (f"{AGENT}/sandbox/scratch.py", "            _remove(self.path)\n", "            __import__('shutil').rmtree(self.path)\n"),
    ],
    "agent/sandbox/test_escapes.py::test_a_pair_of_sockets_reaches_no_other_socket": [
        (f"{AGENT}/sandbox/seccomp.py", '(_JUMP_EQUAL, _SOCK_STREAM, "allow", "deny"),', '(_RETURN, _ALLOW, None, None),'),
    ],
    "agent/sandbox/test_escapes.py::test_the_kernel_signals_nobody_for_it": [
        (f"{AGENT}/sandbox/seccomp.py", '"fcntl": (8, 10, 15,', '"fcntl": ('),
    ],
    "agent/sandbox/test_escapes.py::test_who_watches_the_scratch_folder_is_not_blinded": [
        (f"{AGENT}/sandbox/seccomp.py", "_PR_SET_DUMPABLE = 4", "_PR_SET_DUMPABLE = 99"),
        (f"{AGENT}/sandbox/seccomp.py", "*range(424, 435), 436, 438,", "*range(424, 435), 438,"),
    ],
    "agent/sandbox/test_escapes.py::test_files_that_can_only_be_read_are_not_changed_or_held": [
        (f"{AGENT}/sandbox/seccomp.py", "15, 1024, 1026),", "15),"),
        (f"{AGENT}/sandbox/seccomp.py", "0x8902, 0x40086602, 0x40046602, 0x40087602, 0x401C5820),", "0x8902),"),
    ],
    "agent/sandbox/test_escapes.py::test_a_home_that_is_pythons_prefix_is_not_readable": [
        (f"{AGENT}/sandbox/job.py", 'if root == "/" or home.startswith(f"{root}/")', 'if root == "/"'),
    ],
    # --- agent: sessions and tools -----------------------------------------------------------------------------------
    "agent/sessions/test_killed.py::test_killed_at_every_commit_it_comes_to_the_same": [
        (f"{AGENT}/sessions/journal.py", "self._made.pop(place, None)", "None"),
    ],
    "agent/sessions/test_sessions.py::test_a_runner_that_lost_its_lock_is_told_and_writes_nothing_more": [
        (f"{AGENT}/sessions/rows.py", "if found.rowcount != 1:", "if False:"),
    ],
    "agent/sessions/test_postgres.py::test_a_runner_that_was_away_for_longer_than_its_lease_writes_nothing_more": [
        (f"{AGENT}/sessions/rows.py", "if found.rowcount != 1:", "if False:"),
    ],
    "agent/sessions/test_postgres.py::test_what_cannot_be_opened_is_told_without_the_password": [
        (f"{AGENT}/sessions/postgres.py", "{parts.netloc.rpartition('@')[2]}", "{parts.netloc}"),
    ],
    "agent/sessions/test_database.py::test_conversations_are_their_owners_alone": [
        (f"{AGENT}/sessions/sqlite.py", "os.O_CREAT | os.O_EXCL, 0o600", "os.O_CREAT | os.O_EXCL, 0o644"),
    ],
    "agent/sessions/test_database.py::test_a_file_of_an_earlier_version_becomes_its_owners_alone": [
        (f"{AGENT}/sessions/sqlite.py", "chmod(0o600)", "chmod(0o644)"),
    ],
    "agent/sessions/test_database.py::test_what_is_committed_is_on_the_disk": [
        (f"{AGENT}/sessions/sqlite.py", "synchronous = FULL\")", "synchronous = NORMAL\")"),
        (f"{AGENT}/sessions/postgres.py", "SET LOCAL synchronous_commit TO on", "SELECT 1"),
    ],
    "agent/sessions/test_database.py::test_damaged_rows_are_told_and_what_can_be_read_is_saved": [
        (f"{AGENT}/sessions/rows.py", "except (ValueError, TypeError, RecursionError) as error:", "except OSError as error:"),
    ],
    "agent/sessions/test_sessions.py::test_calls_that_wait_for_approval_are_decided_in_the_session": [
        (f"{AGENT}/sessions/runs.py", 'if session is None and "session" in pending.asked.objects:', "if False:"),
    ],
    "agent/guard/test_judge.py::test_a_message_that_leaves_no_room_for_its_verdict_is_not_safe": [
        (f"{AGENT}/guard/judge.py", "if out is None or not out.whole:", "if out is None:"),
    ],
    "agent/values/test_signing.py::test_a_file_is_resumed_once": [
        (f"{AGENT}/values/signing.py", "if again and signed:", "if False:"),
    ],
    "agent/values/test_signing.py::test_what_was_changed_is_refused_and_nothing_runs": [
        (f"{AGENT}/values/signing.py", "if not hmac.compare_digest(", "if not (lambda *_: True)("),
        (f"{AGENT}/values/checkpoint.py", "if not 1 <= guard.seen <= last or any(", "if False and any("),
        (f"{AGENT}/values/checkpoint.py", "if json.dumps(read, sort_keys=True) != json.dumps(made, sort_keys=True):", "if False:"),
    ],
    "agent/values/test_signing.py::test_a_run_whose_text_was_signed_with_a_given_key_is_not_resumed_elsewhere_after_it_was_in_memory": [
        (f"{AGENT}/values/signing.py", "if signed or _written.is_set():", "if signed:"),
    ],
    "agent/tools/test_results.py::test_a_result_that_is_nested_too_deeply_leaves_the_session_usable": [
        (f"{AGENT}/tools/runner.py", "if depth > DEEPEST:", "if False:"),
    ],
    "agent/tools/test_results.py::test_an_iterator_is_no_result": [
        (f"{AGENT}/tools/runner.py", "if isinstance(value, Iterator | AsyncIterator):", "if False:"),
        (f"{AGENT}/tools/runner.py", "*(value.model_extra or {}).values(), ", ""),
        (f"{AGENT}/tools/runner.py", ".values(), *computed]", ".values()]"),
    ],
    "agent/tools/test_results.py::test_half_of_a_surrogate_pair_in_a_key_is_kept_as_a_replacement": [
        ("tool_schemas/jsontext.py", "    except UnicodeError:  # pydantic", "    except ZeroDivisionError:  # pydantic"),
    ],
    "agent/tracing/test_replay.py::test_where_tools_run_only_what_was_approved_runs_again": [
        (f"{AGENT}/tracing/replay_settings.py", "_written(record) == (call.name, call.arguments)", "True"),
        (f"{AGENT}/tracing/replay_settings.py", "policy.needs_approval if live else waited", "waited"),
    ],
    "agent/tools/test_approval.py::test_a_run_pauses_before_anything_of_the_step_has_run": [
        (f"{AGENT}/loop/run.py", "if any(call.open for call in calls) and not self._cancelled", "if False and not self._cancelled"),
        (f"{AGENT}/tools/approval.py", "return tool.needs_approval(call.arguments, self.context(tool, index))", "return False"),
    ],
    # --- agent: guard and loop ---------------------------------------------------------------------------------------
    "agent/guard/test_answer_judge.py::test_the_receipts_stand_in_the_place_of_a_false_sentence": [
        (f"{AGENT}/loop/run.py", "if not judged or not outcome.output or outcome.flaws:", "if True:"),
        (f"{AGENT}/guard/answer_judge.py", "if not out.whole or not contradicts_of(out.text):", "if True:"),
    ],
    "agent/loop/test_documents.py::test_a_document_with_an_order_is_left_out_and_the_rest_is_answered": [
        (f"{AGENT}/loop/documents.py", 'if record.outcome != "withheld")', "if True)"),
    ],
    "agent/guard/test_guard.py::test_an_unsafe_result_ends_the_run_or_is_withheld": [
        (f"{AGENT}/guard/gates.py", 'if gate.then == "withhold" and', "if False and"),
    ],
    "agent/guard/test_tool_filter.py::test_whatever_a_result_says_no_other_call_is_decoded": [
        (f"{AGENT}/guard/tool_filter.py", 'if outside and self._guard.after_untrusted != "any":', "if False:"),
    ],
    "agent/loop/test_hostile_schemas.py::test_the_deadline_ends_a_search_for_an_end": [
        (f"{AGENT}/loop/run.py", "return None if deadline is None else self._began + deadline", "return None"),
    ],
    "agent/loop/test_hostile_schemas.py::test_a_search_for_an_end_can_be_cancelled": [
        (f"{AGENT}/loop/run.py", "        self._cancelled.set()\n", "        pass\n"),
    ],
    "agent/loop/test_run.py::test_text_from_a_user_or_a_tool_never_becomes_a_special_token": [
        ("adapters/base/tokenizer.py", "self._plain.encode(text, add", "self.backend.encode(text, add"),
    ],
    "agent/loop/test_run.py::test_every_call_that_reaches_a_tool_validates": [
        (
            "tool_schemas/tools/calls.py",
            "check_value(arguments, _lacking(parameters, absent) if absent else parameters, place)",
            "pass",
        ),
    ],
    "agent/loop/test_run.py::test_the_deadline_ends_the_run": [
        (f"{AGENT}/loop/run.py", "if self._deadline is not None and monotonic() >= self._deadline:", "if False:"),
        (f"{AGENT}/loop/run.py", "return None if deadline is None else self._began + deadline", "return None"),
    ],
    "agent/grounding/test_values.py::test_no_effect_on_an_identifier_that_nobody_gave": [
        (f"{AGENT}/grounding/grounding.py", "return kind == \"identifier\" and self.identifier(value)", "return True"),
        (f"{AGENT}/loop/outcome.py", "if values := facts.ungrounded(calls):", "if values := ():"),
    ],
    "agent/grounding/test_answer_check.py::test_the_receipts_stand_in_the_place_of_a_flawed_answer": [
        (f"{AGENT}/loop/run.py", "if not outcome.output or not text.checked:", "if True:"),
    ],
    # --- src/loraloop ------------------------------------------------------------------------------------------------
    "loraloop/cli/test_traces.py::test_no_field_of_a_trace_steers_the_terminal": [
        ("src/loraloop/render/terminal.py", "if segment.control else harmless(segment.text)", ""),
        ("src/loraloop/render/console.py", "_CONTROL.sub(lambda found: f\"\\\\u{ord(found[0]):04x}\", text)", "text"),
    ],
    "loraloop/cli/test_main.py::test_commands_that_run_the_code_of_a_folder_say_so": [
        ("src/loraloop/evals/commands.py", "tools.py, which is run, and world.yaml.", "tools.py and world.yaml."),
        ("src/loraloop/cli/data.py", " The worlds' `tools.py` are run.\n", "\n"),
        ("src/loraloop/cli/improve.py", " The worlds' `tools.py` are run.\n", "\n"),
    ],
    "loraloop/integrations/test_mcp_server.py::test_http_answers_those_who_may_ask": [
        ("src/loraloop/integrations/mcp_serving.py", "and hmac.compare_digest(brought, wanted))", "and True)"),
        ("src/loraloop/integrations/mcp_serving.py", "if host not in LOOPBACK and not (hosts and token):", "if False:"),
        ("src/loraloop/integrations/mcp_serving.py", "allowed_hosts=[*local, *hosts]", 'allowed_hosts=[*local, *hosts, "evil.example"]'),
        ("src/loraloop/integrations/mcp_serving.py", "for name in local), *origins]", 'for name in local), *origins, "https://evil.example"]'),
    ],
    "loraloop/server/test_guarding.py::test_keys_hosts_and_origins": [
        (f"{SERVER}/app.py", "if not settings.knows_host(host):", "if False:"),
        (f"{SERVER}/app.py", "if origin is not None and not", "if False and not"),
        (f"{SERVER}/app.py", "if not sum(hmac.compare_digest(", "if False and sum(hmac.compare_digest("),
        (f"{SERVER}/app.py", 'OPEN = ("/health", "/ready", *FILES)', 'OPEN = ("/metrics", *FILES)'),
    ],
    "loraloop/server/test_guarding.py::test_a_host_is_a_name_and_a_port": [
        (f"{SERVER}/settings.py", r"|[^][:/?#@\\]+)", "|[^:]+)"),
    ],
    "loraloop/server/test_guarding.py::test_how_the_server_listens": [
        (f"{SERVER}/app.py", "proxy_headers=False,", "proxy_headers=True,"),
    ],
    "loraloop/server/test_guarding.py::test_too_large_bodies_and_nonsense_are_refused": [
        (f"{SERVER}/app.py", "if read > self._most:", "if False:"),
    ],
    "loraloop/server/test_guarding.py::test_a_full_queue_says_when_to_come_back": [
        (f"{SERVER}/state.py", "if len(pending) >= self._limits.queue and", "if False and"),
    ],
    "loraloop/server/test_guarding.py::test_a_client_that_goes_away_frees_its_turn": [
        (f"{SERVER}/state.py", "lambda _: doing.cancel()", "lambda _: None"),
        (f"{SERVER}/chat.py", "in_thread(measured(state, made), made.cancel)", "in_thread(measured(state, made), bool)"),
    ],
    "loraloop/server/test_guarding.py::test_skills_are_changed_with_the_admin_key": [
        (f"{SERVER}/models.py", "if not state.settings.admin_key or not", "if False and not"),
    ],
    "loraloop/server/test_guarding.py::test_the_page_is_its_named_files_and_nothing_else": [
        (f"{SERVER}/app.py", "    for path in FILES:\n", '    for path in ("/", "/app.js", "/style.css"):\n'),
        (
            f"{SERVER}/app.py",
            "app.get(path, include_in_schema=False)(page)",
            'app.get("/{rest:path}", include_in_schema=False)(lambda rest: FileResponse(PAGE / (rest or "index.html")))',
        ),
    ],
    "loraloop/server/test_hostile_clients.py::test_what_is_no_key_opens_nothing": [
        (f"{SERVER}/app.py", "hmac.compare_digest(brought, key.encode())", "brought.startswith(key.encode())"),
        (f"{SERVER}/app.py", "hmac.compare_digest(brought, key.encode())", "key.encode().startswith(brought)"),
        (f"{SERVER}/app.py", 'OPEN = ("/health", "/ready", *FILES)', 'OPEN = ("/health", "/v1/models/auto", *FILES)'),
    ],
    "loraloop/server/test_hostile_clients.py::test_a_body_with_two_lengths_is_refused": [
        (f"{SERVER}/app.py", 'if b"transfer-encoding" in', 'if False and b"transfer-encoding" in'),
    ],
    "loraloop/server/test_hostile_clients.py::test_a_body_that_drips_is_given_up": [
        (f"{SERVER}/app.py", "deadline - time.monotonic())", "60)"),
    ],
    "loraloop/server/test_hostile_clients.py::test_ten_thousand_headers_are_refused": [
        (f"{SERVER}/app.py", "HEADER_BYTES = 65536", "HEADER_BYTES = 1 << 30"),
    ],
    "loraloop/server/test_hostile_clients.py::test_requests_of_a_key_in_a_minute_are_bounded": [
        (f"{SERVER}/state.py", "if left < 1:", "if False:"),
    ],
    "loraloop/server/test_hostile_clients.py::test_requests_of_a_key_at_once_are_bounded": [
        (f"{SERVER}/state.py", ">= self._limits.per_key:", "< 0:"),
    ],
    "loraloop/server/test_hostile_clients.py::test_a_failure_has_an_id_that_the_log_has_too": [
        (f"{SERVER}/errors.py", "the server's log has it under {number}\"", "{error}\""),
    ],
    "loraloop/server/test_hostile_clients.py::test_no_answer_crosses_to_another_client": [
        (f"{SERVER}/runs.py", "summary FROM hosted_runs WHERE owner = ?", "summary FROM hosted_runs WHERE ? <> ''"),
    ],
    "loraloop/server/test_hostile_clients.py::test_huge_lists_of_tools": [
        (f"{SERVER}/wire.py", "Items[ToolDefinition] | None = Field(default=None, max_length=512)", "Items[ToolDefinition] | None = None"),
    ],
    "loraloop/server/test_hostile_clients.py::test_a_stream_that_nobody_reads_is_left": [
        (f"{SERVER}/state.py", "send_timeout=seconds", "send_timeout=None"),
    ],
    "loraloop/server/test_bounded_work.py::test_errors_of_a_body_are_few": [
        (f"{SERVER}/wire.py", "max_length=MOST_ITEMS, fail_fast=True", "max_length=MOST_ITEMS"),
        (f"{SERVER}/wire.py", "if isinstance(value, dict) and len(value) > MOST_KEYS:", "if False:"),
    ],
    "loraloop/server/test_bounded_work.py::test_what_no_tokens_could_hold_is_refused_before_it_is_tokenized": [
        ("src/loraloop/integrations/reply.py", "if characters > most * longest:", "if False:"),
        (f"{SERVER}/state.py", "        check_length(sum(len(each.content) for each in messages), base.tokenizer.longest, most)\n", ""),
        (f"{SERVER}/decisions.py", "        check_length(sum(len(", "        print(sum(len("),
    ],
    "loraloop/server/test_bounded_work.py::test_an_input_that_no_context_holds_reaches_no_tokenizer": [
        (f"{SERVER}/state.py", "    check_length(len(prompt), base.tokenizer.longest, most or base.config.max_positions)\n", ""),
    ],
    "loraloop/server/test_bounded_work.py::test_prompts_over_the_limit_are_refused_before_they_are_read": [
        ("src/loraloop/integrations/reply.py", "if most and tokens > most:", "if False:"),
    ],
    "loraloop/server/test_bounded_work.py::test_a_client_that_leaves_takes_its_slow_schemas_along": [
        (f"{SERVER}/state.py", "return gone.is_set() or", "return"),
    ],
    "loraloop/server/test_bounded_work.py::test_a_client_that_leaves_takes_its_decisions_along": [
        (f"{SERVER}/decisions.py", "await while_there(request, awaited(decide, gone.set))", "await awaited(decide, gone.set)"),
    ],
    "loraloop/server/test_bounded_work.py::test_a_list_has_a_bound": [
        (f"{SERVER}/wire.py", "MOST_ITEMS = 10_000", "MOST_ITEMS = 10_000_000"),
    ],
    "loraloop/server/test_fair_turns.py::test_requests_of_one_address_delay_that_address_alone": [
        (f"{SERVER}/state.py", "min(self._queue, key=", "min(self._queue[:1], key="),
    ],
    "loraloop/server/test_fair_turns.py::test_turns_go_to_the_client_with_the_fewest": [
        (f"{SERVER}/state.py", "(self._turns[each[0]], self._taken.get(each[0], 0.0))", "self._taken.get(each[0], 0.0)"),
        (f"{SERVER}/state.py", "if not turn.cancelled() and turn.exception() is None:", "if False:"),
    ],
    "loraloop/server/test_fair_turns.py::test_who_takes_long_waits_for_as_long_as_the_others_took": [
        (f"{SERVER}/state.py", "self._begin(client) + seconds", "self._begin(client) + 1.0"),
        (f"{SERVER}/state.py", "return max(self._now, self._taken.get(client, 0.0))", "return self._taken.get(client, 0.0)"),
    ],
    "loraloop/server/test_fair_turns.py::test_a_full_queue_refuses_whoever_fills_it": [
        (f"{SERVER}/state.py", "if waiting[client] + 1 >= max(waiting.values(), default=0):", "if True:"),
    ],
    "loraloop/server/test_fair_turns.py::test_slow_schemas_of_one_address_delay_that_address_alone": [
        (f"{SERVER}/state.py", "replace(settings.limits, concurrency=1)", "settings.limits"),
        (f"{SERVER}/state.py", "state.preparing.others_wait(client):", "False:"),
    ],
    "loraloop/server/test_fair_turns.py::test_a_request_that_takes_too_much_of_a_processor_to_be_read_is_refused": [
        (f"{SERVER}/state.py", "if time.thread_time() - start > limits.preparation:", "if False:"),
    ],
    "loraloop/server/test_fair_turns.py::test_large_bodies_are_read_one_at_a_time_beside_the_others": [
        (f"{SERVER}/state.py", "if len(body) <= LARGE else", "if True else"),
        (f"{SERVER}/state.py", "replace(settings.limits, concurrency=1)", "settings.limits"),
    ],
    "loraloop/server/test_fair_turns.py::test_a_body_of_very_many_values_is_refused_before_it_is_decoded": [
        (f"{SERVER}/state.py", "> MOST_VALUES:", "> 10 * MOST_VALUES:"),
    ],
    "loraloop/server/test_hostile.py::test_many_slow_schemas_hold_up_nobody_else": [
        (f"{SERVER}/state.py", "gone.is_set() or time.monotonic() >= until", "gone.is_set()"),
        (f"{SERVER}/errors.py", '    (TimeLimitError, 504, "timeout"),\n', ""),
    ],
    "loraloop/server/test_hostile.py::test_changed_bodies_never_break_it": [
        (f"{SERVER}/responses.py", "    if item.role is None:\n", "    if False:\n"),
    ],
    "loraloop/server/test_hostile.py::test_bodies_that_once_broke_it": [
        (f"{SERVER}/wire.py", "or levels(arguments) > DEEPEST_VALUE:", "or False:"),
    ],
    "loraloop/server/test_hostile.py::test_nonsense_on_the_wire_is_survived": [
        (f"{SERVER}/app.py", "or int(declared) > self._most:", "or False:"),
    ],
    "loraloop/server/test_openapi.py::test_every_answer_is_documented_and_none_is_a_500": [
        (f"{SERVER}/app.py", "responses=documented({400, 401,", "responses=documented({401,"),
    ],
    "loraloop/server/page/test_hostile_texts.py::test_what_is_no_answer_is_text_everywhere": [
        (f"{PAGE}/elements.js", 'if (text !== "") element.textContent = text;', 'if (text !== "") showMarkdown(element, text);'),
        (
            f"{PAGE}/run.js",
            "place.textContent = error === null ? shown(result) : `error: ${error}`;",
            "showMarkdown(place, error === null ? shown(result) : `error: ${error}`);",
        ),
    ],
    "loraloop/server/page/test_views.py::test_what_a_step_of_a_long_trace_holds_is_laid_out_when_it_is_opened": [
        (f"{PAGE}/run.js", 'make("details", "", "step now"', 'make("div", "", "step now"'),
    ],
    "loraloop/server/page/test_hostile_texts.py::test_html_of_an_answer_stays_text": [
        (f"{PAGE}/elements.js", "markdownit({ html: false,", "markdownit({ html: true,"),
    ],
    "loraloop/server/page/test_hostile_texts.py::test_links_and_images_of_an_answer_do_nothing_by_themselves": [
        (f"{PAGE}/elements.js", "ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i", "ALLOWED_URI_REGEXP: /^/"),
        (f"{PAGE}/elements.js", "reader.renderer.rules.image = ", "const unused = "),
        (f"{PAGE}/elements.js", '  element.rel = "noopener noreferrer";\n', ""),
    ],
    "loraloop/server/page/test_hostile_texts.py::test_where_a_link_leads_is_said_unless_its_text_is_the_address": [
        (f"{PAGE}/elements.js", "if (!isAddress) link.after(", "if (false) link.after("),
        (f"{PAGE}/elements.js", "includes(link.textContent) && !username", "includes(link.textContent)"),
    ],
    "loraloop/server/page/test_hostile_texts.py::test_the_sanitiser_holds_where_the_markdown_library_does_not": [
        (f"{PAGE}/elements.js", "ALLOWED_TAGS: [", "ADD_TAGS: ["),
        (f"{PAGE}/elements.js", "ALLOWED_ATTR: [", "ADD_ATTR: ["),
        (f"{PAGE}/elements.js", "ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i", "ALLOWED_URI_REGEXP: /^/"),
    ],
    "loraloop/server/page/test_hostile_texts.py::test_the_browser_refuses_what_no_guard_saw": [
        (f"{SERVER}/app.py", "script-src 'self'; style", "script-src 'self' 'unsafe-inline'; style"),
        (f"{SERVER}/app.py", "img-src data:; ", "img-src data: https:; "),
        (f"{SERVER}/app.py", "require-trusted-types-for 'script'; ", ""),
    ],
    "loraloop/server/page/test_hostile_texts.py::test_a_library_that_was_changed_does_not_run": [
        (f"{PAGE}/index.html", 'purify.min.js" defer integrity=', 'purify.min.js" defer title='),
    ],
    "loraloop/server/test_decisions.py::test_a_question_that_asks_for_harm_is_declined_alone": [
        (f"{SERVER}/decisions.py", "if judge.screen(trunk).probability < DECLINED_FROM:", "if True:"),
    ],
    "loraloop/server/test_decisions.py::test_probabilities_are_divided_by_those_without_an_input": [
        (f"{AGENT}/engine/cache/sequence.py", "if self.deadline is not None and monotonic() >= self.deadline:", "if False:"),
    ],
    "loraloop/server/test_responses.py::test_responses_belong_to_their_key": [
        (f"{SERVER}/responses.py", "FROM responses WHERE id = ? AND owner = ?\"\n            found", "FROM responses WHERE id = ? AND owner <> ?\"\n            found"),
        (f"{SERVER}/responses.py", "\"DELETE FROM responses WHERE id = ? AND owner = ?\"", "\"DELETE FROM responses WHERE id = ? AND owner <> ?\""),
    ],
    "loraloop/server/test_responses.py::test_the_oldest_responses_of_a_key_go": [
        (f"{SERVER}/responses.py", "\"(SELECT id FROM responses WHERE owner = ? ORDER BY", "\"(SELECT id FROM responses WHERE owner <> ? ORDER BY"),
    ],
    "loraloop/server/test_responses.py::test_a_kept_conversation_is_no_longer_than_a_request": [
        (f"{SERVER}/responses.py", "if len(earlier) <= most else []", "if True else []"),
    ],
    "loraloop/server/test_agents.py::test_the_load_tells_nobody_what_others_ask": [
        (f"{SERVER}/models.py", "run.load(run.owner == owner)", "run.load(True)"),
    ],
    "loraloop/server/test_agents.py::test_sessions_are_kept_for_each_owner": [
        (f"{SERVER}/state.py", 'return f"{owner}-{len(agent)}', 'return f"x-{len(agent)}'),
    ],
    "loraloop/server/test_agents.py::test_names_of_sessions_do_not_collide": [
        (f"{SERVER}/state.py", 'return f"{owner}-{len(agent)}-{agent}', 'return f"{owner}-{agent}'),
    ],
    "loraloop/server/test_agents.py::test_a_session_in_use_is_told_at_once": [
        (f"{SERVER}/state.py", "if name in self._talking:", "if False:"),
    ],
    "loraloop/server/test_agents.py::test_runs_that_wait_are_bounded_and_can_be_ended": [
        (f"{SERVER}/runs.py", ">= WAITING:", ">= 1 << 30:"),
        (f"{SERVER}/runs.py", 'run.pending, run.state = None, "finished"', "run.pending = None"),
    ],
    "loraloop/server/test_agents.py::test_runs_belong_to_their_key": [
        (f"{SERVER}/runs.py", "if run is None or run.owner != owner:", "if run is None:"),
        (f"{SERVER}/runs.py", "summary FROM hosted_runs WHERE owner = ?", "summary FROM hosted_runs WHERE ? <> ''"),
    ],
    "loraloop/server/test_agents.py::test_two_approvals_at_once_run_the_calls_once": [
        (
            f"{SERVER}/runs.py",
            "pending, run.pending = run.pending, None\n            if pending is None or not (taken or",
            "pending = run.pending\n            if not (True or",
        ),
    ],
    "loraloop/server/test_agents.py::test_an_approval_that_finds_no_room_can_be_given_again": [
        (
            f"{SERVER}/agents.py",
            "await asyncio.shield(asyncio.to_thread(state.runs.waits, run, pending, run.result))\n        raise\n\n",
            "raise\n\n",
        ),
    ],
    "loraloop/server/test_agents.py::test_what_a_session_knows_to_wait_is_taken_up_after_a_kill": [
        (f"{SERVER}/state.py", "        self.recover()\n", ""),
    ],
    "loraloop/server/test_agents.py::test_an_approval_that_meets_a_full_disk_can_be_given_again": [
        (f"{SERVER}/agents.py", "await asyncio.to_thread(state.still_waits, run)", "pass"),
    ],
    "loraloop/server/test_agents.py::test_a_run_of_a_session_that_waits_can_be_ended": [
        (f"{SERVER}/agents.py", "await asyncio.to_thread(state.session_of(run, turn).give_up)", "pass"),
        (f"{SERVER}/agents.py", "        await asyncio.to_thread(state.runs.drop, run)\n", ""),
    ],
    "loraloop/server/test_agents.py::test_the_runs_of_one_key_do_not_push_out_those_of_another": [
        (f"{SERVER}/runs.py", "ORDER BY place DESC, started LIMIT", "ORDER BY started LIMIT"),
    ],
    "loraloop/server/test_agents.py::test_a_stream_ends_whole_where_the_disk_takes_nothing": [
        (f"{SERVER}/runs.py", "except SessionError as error:", "except ZeroDivisionError as error:"),
    ],
    "loraloop/server/test_many_servers.py::test_two_servers_are_told_the_same_decision_and_the_call_runs_once": [
        (f"{SERVER}/runs.py", "SET state = 'running', server = ? WHERE id = ? AND state = 'waiting'", "SET server = ? WHERE id = ?"),
    ],
    # --- promises beside the threat model ----------------------------------------------------------------------------
    "agent/engine/cache/test_prefix_cache.py::test_a_beginning_of_another_run_is_reused_up_to_the_first_other_token": [
        (f"{AGENT}/engine/cache/prefix_cache.py", "return best.fork(count)\n\n    @contextmanager",
         "return best.fork(min(count + 1, best.length))\n\n    @contextmanager"),
    ],
    "agent/engine/test_scheduler.py::test_prompts_take_turns_with_those_who_decode": [
        (f"{AGENT}/engine/scheduler.py", "room = self._pace.chunk(tokens)", "room = 0"),
        (f"{AGENT}/engine/scheduler.py", "for request in urgent[:ROWS]:", "for request in urgent[: 0 if len(queue) > len(urgent) else ROWS]:"),
    ],
    "agent/loop/test_outcome.py::test_what_a_text_means": [
        (f"{AGENT}/loop/outcome.py", "if facts.calls_left < 1:", "if False:"),
        (f"{AGENT}/loop/outcome.py", "if len(fresh) > facts.calls_left:", "if False:"),
    ],
    "agent/grounding/test_answer_check.py::test_values_that_stand_in_no_record": [
        (f"{AGENT}/grounding/answer_check.py", 'if kind in ("identifier", "email", "url") and', 'if kind in ("email", "url") and'),
        (f"{AGENT}/grounding/answer_check.py", "return not known.forms.isdisjoint(_forms(code))", "return False"),
        (f"{AGENT}/grounding/answer_check.py", "return place.has_day(value.as_date) or bool(apart & steps)", "return True"),
        (f"{AGENT}/grounding/answer_check.py", "return (kind == \"identifier\" and place.has_digits(value)) or place.has_code(value)", "return True"),
        (f"{AGENT}/grounding/answer_check.py", "        return value in place.times or any(", "        return True or any("),
        (f"{AGENT}/grounding/answer_check.py", "    if value in (0, 1) or", "    if True or"),
    ],
    "agent/loop/test_fallback.py::test_an_answer_that_the_records_do_not_bear_out": [
        (f"{AGENT}/loop/run.py", "bool(outcome.flaws and self._job.policy.repairs) or", ""),
        (f"{AGENT}/loop/route.py", 'last.outcome == "flawed" or', ""),
    ],
    "agent/loop/test_fallback.py::test_a_run_that_ends_before_the_fallback_has_written_has_the_receipts": [
        (f"{AGENT}/loop/run.py", "self.state.ending = Ending(outcome.records)", "pass"),
    ],
    "agent/grounding/test_answer_check.py::test_receipts_say_what_came_of_each_call": [
        (f"{AGENT}/values/receipts.py", 'if record.approval == "denied":', "if False:"),
        (f"{AGENT}/values/receipts.py", "return \"unknown\" if record.at_least_once or (", "return \"unknown\" if False and ("),
        (f"{AGENT}/values/receipts.py", 'return "empty" if _is_empty(data, record.arguments) else "done"', 'return "done"'),
    ],
    "agent/grounding/test_answer_check.py::test_a_receipt_of_deeply_nested_data_is_bounded": [
        (f"{AGENT}/values/receipts.py", "if isinstance(value, Mapping | list | tuple) and not depth:", "if False:"),
    ],
    "agent/grounding/test_grounding.py::test_values_from_nowhere": [
        (f"{AGENT}/grounding/evidence.py", "if any(len(run) >= 3 for run in runs) and", "if runs and"),
        (f"{AGENT}/grounding/grounding.py", "return _words_stand(words, self.moments) or user_days", "return True or user_days"),
        (f"{AGENT}/grounding/grounding.py", " and all(map(own.has_beginning, letters))", ""),
        (f"{AGENT}/grounding/grounding.py", "own.plain.issuperset(map(Decimal, runs))", "own.numbers.issuperset(map(Decimal, runs))"),
        (f"{AGENT}/grounding/grounding.py", "return bool(runs and letters) and stated", "return stated"),
        (f"{AGENT}/grounding/evidence.py", "(len(word) > 3 and word", "(word"),
        (f"{AGENT}/grounding/grounding.py", "return any(value in text for text in self.all.texts)", "return True"),
        (f"{AGENT}/grounding/grounding.py", "return all(any(place.has_number(each)", "return any(any(place.has_number(each)"),
    ],
    "agent/grounding/test_grounding.py::test_an_example_in_a_description_is_not_given": [
        (f"{AGENT}/grounding/grounding.py", "and not _stands_as_such(kind, value, examples, tool)", ""),
    ],
    "agent/grounding/test_grounding.py::test_another_day_does_not_stand": [
        (f"{AGENT}/grounding/grounding.py", "(weekday and apart <= 14)", "apart <= 1400"),
    ],
    "agent/grounding/test_grounding.py::test_values_are_computed_by_the_stated_rules": [
        (f"{AGENT}/grounding/grounding.py", "            for one in own\n", "            for one in known\n"),
        (f"{AGENT}/grounding/grounding.py", "(weekday and apart <= 14)", "apart <= 14"),
    ],
    "agent/tools/test_visible_errors.py::test_an_object_is_no_result": [
        (f"{AGENT}/tools/runner.py", "if _is_opaque(value):", "if False:"),
    ],
    "agent/loop/test_documents.py::test_a_document_that_is_too_long_to_be_judged_is_left_out_where_the_gate_is_closed": [
        (f"{AGENT}/guard/gates.py", 'return record if gate.fail == "open" else', "return record if True else"),
    ],
    "adapters/skill/test_peft_readme.py::test_a_shipped_skill_names_its_base_as_the_hub_does": [
        ("adapters/skill/peft_export.py", "return CATALOG[name].model if name in CATALOG else name", "return name"),
        ("adapters/skill/peft_export.py", "base = base or hub_name(card)", "base = hub_name(card)"),
        ("adapters/skill/peft_export.py", "was trained to act from its invocation on: measure it.", "it was trained."),
        ("adapters/skill/peft_export.py", '        "\\n".join(sources),\n', ""),
    ],
    "adapters/base/loading/test_fetch.py::test_a_cache_that_cannot_be_written_is_an_error_that_names_the_setting": [
        ("adapters/base/loading/folders.py", "except OSError as error:", "except ZeroDivisionError as error:"),
    ],
    "tool_schemas/test_errors.py::test_a_name_is_suggested_only_where_it_is_like_the_one_asked_for": [
        ("tool_schemas/errors.py", "ALIKE = 0.6", "ALIKE = 0.0"),
        ("tool_schemas/errors.py", "SHORTEST_PART = 3", "SHORTEST_PART = 1"),
    ],
    "agent/test_options.py::test_settings": [
        ("tool_schemas/tools/tool.py", 'return f"<Tool {self.name}>"', "return repr(vars(type(self)))"),
    ],
    "kernels/test_native.py::test_a_groups_sum_is_exact": [
        ("kernels/csrc/simd.h", "    bits &= ~3u;\n", ""),
    ],
    "kernels/test_native.py::test_it_can_be_switched_off_and_missed": [
        ("kernels/cpu/native.py", "_log.warning(\"no C compiler", "_log.debug(\"no C compiler"),
    ],
    "kernels/test_native.py::test_where_its_folder_cannot_be_written_it_is_built_for_the_process": [
        ("kernels/cpu/native.py", "    except OSError as error:\n", "    except ZeroDivisionError as error:\n"),
    ],
    "loraloop/server/test_agents.py::test_agents_are_read_from_a_file": [
        (f"{SERVER}/agents.py", "raise InputError(explain(error, AgentSpec, lines, (\"agents\", name)))", "raise InputError(str(error))"),
        (f"{SERVER}/agents.py", "if isinstance(content, dict) and (others", "if False and (others"),
    ],
    "router/test_router_fit.py::test_probabilities_are_those_of_the_temperature": [
        ("router/choice.py", "/ self.temperature).masked_fill", ").masked_fill"),
    ],
}  # fmt: skip

MUTATIONS = [Mutation(*edit, test=f"tests/{test}") for test, edits in TABLE.items() for edit in edits]
