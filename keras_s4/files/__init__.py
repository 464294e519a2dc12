"""Files that are written whole or not at all, alone or several in a folder; what killed programs left is removed."""

from keras_s4.files.errors import explain_errors
from keras_s4.files.hashes import hash_bytes, hash_file
from keras_s4.files.json_objects import damaged_file, json_bytes, read_object, write_json
from keras_s4.files.several import write_folder
from keras_s4.files.single import model_bytes, replace_file, temporary_folder, write_bytes, write_model

__all__ = [
    "damaged_file",
    "explain_errors",
    "hash_bytes",
    "hash_file",
    "json_bytes",
    "model_bytes",
    "read_object",
    "replace_file",
    "temporary_folder",
    "write_bytes",
    "write_folder",
    "write_json",
    "write_model",
]
