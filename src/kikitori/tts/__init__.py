"""Text to speech: engines that speak, behind one seam."""
