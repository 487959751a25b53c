"""What PivotRL is compared with, on the same policy: supervised training (pre-training and SFT)."""
