"""What people do with failures found: draw them again, label them blindly, look at them by cause."""
