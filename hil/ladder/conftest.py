"""Which tests the whole ladder repeats on Debian's stock kernel, ten times as slow as the other guest.

The bench uml runs every test. These few ask what only the stock kernel can tell: whether its drivers, as
Debian builds them and on more than one CPU, do the same. `gateway hil run --bench qemu` runs any test there.
"""

from collections.abc import Mapping
from typing import Final

import pytest

# By file, the tests; None for all of them.
STOCK_KERNEL: Final[Mapping[str, tuple[str, ...] | None]] = {
    "test_kernel.py": None,
    "test_serial.py": (
        "test_it_comes_back_under_another_number",
        "test_an_ftdi_adapter_is_set_to_the_line_and_comes_back",
        "test_garbage_disturbs_nothing_else",
    ),
    "test_gpio.py": (
        "test_eleven_bounces_are_one_opening",
        "test_edges_that_the_kernel_could_not_hold_are_a_counted_gap",
        "test_a_relay_follows_and_is_read_back",
        "test_a_chip_that_goes_is_port_gone_and_heals",
    ),
    "test_ble.py": (
        "test_advertisements_become_readings",
        "test_a_sensor_that_notifies_and_what_becomes_of_it",
        "test_an_adapter_comes_back_under_another_name",
    ),
    "test_alsa.py": (
        "test_a_card_without_samples_is_said_after_three_seconds_and_opened_anew",
        "test_a_usb_microphone_comes_back_as_another_card",
    ),
    "test_v4l2.py": (
        "test_pictures_come_at_the_rate_with_the_kernels_stamps_and_none_is_missing",
        "test_a_new_picture_size_on_the_cable_is_followed",
        "test_a_usb_camera_comes_back_under_another_number",
    ),
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, before -m chooses by marks."""
    for item in items:
        names = STOCK_KERNEL.get(item.path.name, ())
        if names is None or getattr(item, "originalname", item.name) in names:
            item.add_marker("stock_kernel")
