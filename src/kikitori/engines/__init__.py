"""Recognisers behind one seam; blocking code, no asyncio."""
