"""Clip reader: a video file opened by PyAV, decoded frame by frame, and checked for damage."""
