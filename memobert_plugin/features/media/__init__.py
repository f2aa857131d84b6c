"""Read sound, pictures and subtitles from media files."""
