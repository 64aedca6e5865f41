"""The kit: what a driver must hold, executed. The rules: `gateway_hil.kit.table`, hil/README.md."""
