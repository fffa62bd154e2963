"""Simulated micrographs: specimens, microscope, detector. The only room that knows abTEM and ASE."""
