"""What this machine and this folder have and lack, each with the line that mends it; `cct doctor` asks."""
