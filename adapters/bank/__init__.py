"""The bank: the skills that a runtime can activate, on disk, in memory and in the slots of the device."""
