"""What contributors check their layers with, and random architectures and programs from seeds."""
