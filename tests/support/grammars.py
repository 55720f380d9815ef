"""A grammar that keeps golek-tiny writing for some 200 tokens, and the check of what it describes."""

import json

PERSON = r"""
root ::= "{\"name\": \"" name "\", \"age\": " [1-9] [0-9]? ", \"tags\": [" tag (", " tag){24} "]}"
name ::= [A-Z] [A-Za-z ]{300}
tag ::= "\"" [a-z]{3,12} "\""
"""
"""A JSON object as a schema with name, age and tags would describe it."""


def is_person(text: str) -> bool:
    """Whether `text` is JSON, whole, with the fields of the grammar and values of their kinds."""
    try:
        person = json.loads(text)
    except ValueError:
        return False
    return (
        isinstance(person, dict)
        and list(person) == ["name", "age", "tags"]
        and isinstance(person["name"], str)
        and isinstance(person["age"], int)
        and 1 <= person["age"] <= 99
        and isinstance(person["tags"], list)
        and len(person["tags"]) > 0
        and all(isinstance(tag, str) and tag.isalpha() and tag.islower() for tag in person["tags"])
    )
