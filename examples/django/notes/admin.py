from django.contrib import admin

from notes.models import Note


@admin.register(Note)
class NoteAdmin(admin.ModelAdmin):
    list_display = ["title", "is_public", "written"]
    list_filter = ["is_public"]
    search_fields = ["title", "text"]
