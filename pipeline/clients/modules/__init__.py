"""What apps take as it is: a tokenizer and the preprocessing of preprocess.json, in JavaScript without dependencies."""

from pathlib import Path

FOLDER = Path(__file__).parent
MODULES = ("preprocess.js", "wordpiece.js")
