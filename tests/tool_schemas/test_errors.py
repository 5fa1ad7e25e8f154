import pytest

from loraloop.tool_schemas.errors import LoraloopError, SchemaError, nearest_name, unknown


def test_unknown_names_the_nearest() -> None:
    error = unknown("skill", "Toolz", ["tools", "code", "safety"])
    assert isinstance(error, LoraloopError)
    assert error.nearest == "tools"
    assert "did you mean 'tools'" in str(error) and "code" in str(error)


def test_unknown_without_any_known() -> None:
    assert "no tool is defined" in str(unknown("tool", "x", []))


@pytest.mark.parametrize(
    ("name", "known", "nearest"),
    [
        ("weather", ["find_order", "get_weather"], "get_weather"),
        ("qwen", ["smollm2-135m", "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"], "qwen2.5-coder-0.5b"),
        ("get_weather_now", ["get_weather", "find_order"], "get_weather"),
        ("Tols", ["tools", "code"], "tools"),
        ("teleport", ["get_weather", "find_order"], None),
        ("x", ["text", "exit"], None),
        ("", ["a"], None),
    ],
)
def test_a_name_is_suggested_only_where_it_is_like_the_one_asked_for(name: str, known: list[str], nearest: str) -> None:
    assert nearest_name(name, known) == nearest
    error = unknown("tool", name, known)
    assert error.nearest == nearest and ("did you mean" in str(error)) == (nearest is not None)
    assert all(each in str(error) for each in known)


def test_schema_error_carries_its_path() -> None:
    error = SchemaError("is not a type; use one of string, integer", "$.properties.a.type")
    assert error.path == "$.properties.a.type"
    assert str(error).startswith("$.properties.a.type: ")
