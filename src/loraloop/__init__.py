"""loraloop"""
