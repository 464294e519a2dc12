"""What a model is called where each ecosystem has rules of its own for names, and versions."""

from __future__ import annotations

import importlib.metadata
import re

from keras_s4.tflite.c99.names import file_stem

# Headers that sketches include, and components that ESP-IDF brings: a model of such a name would hide one of them.
_HEADERS = """
    arduino avr binary client dns eeprom ethernet firmata hardwareserial ipaddress keyboard liquidcrystal mouse
    pins_arduino print printable pgmspace scheduler sd server servo softwareserial spi stepper stream tft twi udp usbapi
    wifi wire wprogram wstring
"""
_COMPONENTS = """
    app_trace app_update bootloader bt cmock console cxx driver efuse fatfs hal heap http_parser idf_test json log lwip
    mbedtls mqtt newlib nvs_flash openthread partition_table perfmon protobuf_c protocomm pthread riscv rt sdmmc soc
    spiffs tcp_transport touch_element ulp unity usb vfs wear_levelling wpa_supplicant xtensa
"""
_TAKEN = frozenset((_HEADERS + _COMPONENTS).split())
_TAKEN_START = re.compile("esp_|freertos|zephyr|rte_", re.IGNORECASE)
_NUMBERS = re.compile(r"\d+(?:\.\d+){0,2}")


def project_name(model: str) -> str:
    """The name in C of a model that nobody has named: its own, with "model_" in front where an ecosystem has that."""
    stem = file_stem(model)
    return file_stem(f"model_{stem}") if _is_taken(stem) else stem


def check_project_name(name: str) -> None:
    """Refuses a name that C allows and an ecosystem has already.

    Raises:
        ValueError: it does.
    """
    if _is_taken(name):
        raise ValueError(
            f"Received name={name!r}, which a header or component of Arduino, ESP-IDF or Zephyr has already; choose "
            f"another, such as {project_name(name)!r}."
        )


def _is_taken(name: str) -> bool:
    return name.lower() in _TAKEN or bool(_TAKEN_START.match(name))


def arduino_name(name: str) -> str:
    """A library's name, which must have neither "arduino" nor "library" in it."""
    found = re.sub("_*(arduino|library)_*", "_", name, flags=re.IGNORECASE).strip("_")
    return found if found and found[0].isalpha() else f"model_{found}".rstrip("_")


def version() -> str:
    """The version of this package as three numbers, as all ecosystems want it."""
    try:
        found = _NUMBERS.match(importlib.metadata.version("keras-s4"))
    except importlib.metadata.PackageNotFoundError:
        found = None
    numbers = found.group().split(".") if found else []
    return ".".join([*numbers, "0", "0", "0"][:3])
