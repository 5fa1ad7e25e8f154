from loraloop.tool_schemas.errors import LoraloopError, SchemaError, unknown


def test_unknown_names_the_nearest() -> None:
    error = unknown("skill", "Toolz", ["tools", "code", "safety"])
    assert isinstance(error, LoraloopError)
    assert error.nearest == "tools"
    assert "did you mean 'tools'" in str(error) and "code" in str(error)


def test_unknown_without_any_known() -> None:
    assert "no tool is defined" in str(unknown("tool", "x", []))
    assert unknown("tool", "", ["a"]).nearest == "a"


def test_schema_error_carries_its_path() -> None:
    error = SchemaError("is not a type; use one of string, integer", "$.properties.a.type")
    assert error.path == "$.properties.a.type"
    assert str(error).startswith("$.properties.a.type: ")
