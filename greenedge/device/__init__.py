"""The machine: which device, which number format, and how memory is handed back."""
