"""Raw sets as they are found on disk: one file a layout, one line in `layouts.LAYOUTS`."""
