"""Every driver that has an emulator, on every bench that has what it hangs on; see `gateway_hil.kit`."""

from gateway_hil.kit.ladder_drivers import (
    climb,
    subject,
    test_it_comes_back_after_a_loose_plug,
    test_it_outlives_garbage,
    test_it_outlives_silence,
    test_its_first_readings_are_the_truth,
)

__all__ = [
    "climb",
    "subject",
    "test_it_comes_back_after_a_loose_plug",
    "test_it_outlives_garbage",
    "test_it_outlives_silence",
    "test_its_first_readings_are_the_truth",
]
