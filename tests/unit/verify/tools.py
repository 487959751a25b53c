"""A tool whose arguments are of every sort that `tool_call:schema` tells apart."""

from typing import Any

PROPERTIES: dict[str, Any] = {
    "city": {"type": "string"},
    "price": {"type": "number"},
    "seats": {"type": "integer", "default": 1},
    "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
    "code": {"type": ["string", "integer"]},
    "rush": {"type": "boolean", "default": False},
    "legs": {"type": "array", "items": {"$ref": "#/$defs/Leg"}},
    "meta": {"type": "object"},
    "tags": {"type": "array", "items": {"type": "string"}, "default": []},
    "ids": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    "toppings": {"type": "array", "items": {"type": "string"}, "description": "Toppings; the order does not matter."},
    "cabin": {"type": "string", "enum": ["basic_economy", "economy", "business"]},
    "mode": {"type": "string", "enum": ["Fast", "fast", "slow"]},
    "unit": {"anyOf": [{"enum": ["Celsius", "Fahrenheit"]}, {"type": "null"}]},
    "day": {"type": "string", "format": "date"},
    "when": {"type": "string"},
    "email": {"type": "string"},
    "order_id": {"type": "string"},
    "path": {"type": "string"},
    "reason": {"type": "string"},
    "query": {"type": "string"},
    "why": {"type": "string", "description": "Either 'no longer needed' or 'ordered by mistake'."},
    "expression": {"type": "string"},
    "command": {"type": "string"},
    "currency": {"type": "string", "description": "Code; case does not matter"},
    "needle": {"type": "string", "description": "Exact text to look for"},
    "gift": {"type": "string", "description": "Text on a card"},
    "only": {"type": "array", "items": {"type": "string"}, "description": "Keep only these"},
    "limit": {"type": ["integer", "null"], "default": 50, "description": "null for all"},
    "value": {"type": ["string", "integer", "boolean"]},
    "plan": {"type": "object", "properties": {"kind": {"type": "string", "default": "rolling"}}},
    "item_ids": {"type": "array", "items": {"type": "string"}, "description": "There could be duplicate items."},
    "phone": {"type": "string"},
    "amount": {"type": "string"},
    "color": {"type": "string"},
    "length": {"type": "string", "format": "duration"},
    "dir": {"type": "string"},
    "url": {"type": "string"},
    "address": {"type": "string"},
    "sql": {"type": "string"},
    "python_code": {"type": "string"},
    "bash_command": {"type": "string"},
    "country_code": {"type": "string"},
    "zip": {"type": "string", "pattern": "[0-9]{5}"},
}
BOOK = {
    "type": "function",
    "function": {
        "name": "book",
        "parameters": {
            "type": "object",
            "properties": PROPERTIES,
            "required": ["city"],
            "$defs": {
                "Leg": {
                    "type": "object",
                    "properties": {"to": {"type": "string"}, "bags": {"type": "integer", "default": 0}},
                    "required": ["to"],
                }
            },
        },
    },
}
