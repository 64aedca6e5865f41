"""Every driver that has an emulator, on every bench that has what it hangs on; see `gateway_hil.kit`."""

from gateway_hil.kit.ladder_drivers import subject, test_a_driver_climbs

__all__ = ["subject", "test_a_driver_climbs"]
