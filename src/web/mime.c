/*
 * Media types: two sorted tables searched by halves, one from extensions to types and one of the
 * types outside text/ and +json/+xml that are worth compressing.
 */
#include "web/mime.h"
#include "core/error.h"

struct mime {
    const char *extension;
    const char *type;
};

#define UTF8 "; charset=utf-8"

static const struct mime mime_table[] = {
    { "3gp", "video/3gpp" },
    { "7z", "application/x-7z-compressed" },
    { "aac", "audio/aac" },
    { "apng", "image/apng" },
    { "asc", "text/plain" UTF8 },
    { "atom", "application/atom+xml" },
    { "avi", "video/x-msvideo" },
    { "avif", "image/avif" },
    { "bin", "application/octet-stream" },
    { "bmp", "image/bmp" },
    { "br", "application/x-brotli" },
    { "bz2", "application/x-bzip2" },
    { "c", "text/plain" UTF8 },
    { "cjs", "text/javascript" UTF8 },
    { "conf", "text/plain" UTF8 },
    { "css", "text/css" UTF8 },
    { "csv", "text/csv" UTF8 },
    { "deb", "application/vnd.debian.binary-package" },
    { "doc", "application/msword" },
    { "docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document" },
    { "eot", "application/vnd.ms-fontobject" },
    { "epub", "application/epub+zip" },
    { "flac", "audio/flac" },
    { "gif", "image/gif" },
    { "gpx", "application/gpx+xml" },
    { "gz", "application/gzip" },
    { "h", "text/plain" UTF8 },
    { "heic", "image/heic" },
    { "htm", "text/html" UTF8 },
    { "html", "text/html" UTF8 },
    { "ico", "image/x-icon" },
    { "ics", "text/calendar" UTF8 },
    { "ini", "text/plain" UTF8 },
    { "iso", "application/octet-stream" },
    { "jar", "application/java-archive" },
    { "jpeg", "image/jpeg" },
    { "jpg", "image/jpeg" },
    { "js", "text/javascript" UTF8 },
    { "json", "application/json" },
    { "jsonld", "application/ld+json" },
    { "jxl", "image/jxl" },
    { "key", "application/octet-stream" },
    { "log", "text/plain" UTF8 },
    { "m3u8", "application/vnd.apple.mpegurl" },
    { "m4a", "audio/mp4" },
    { "m4v", "video/mp4" },
    { "map", "application/json" },
    { "markdown", "text/markdown" UTF8 },
    { "md", "text/markdown" UTF8 },
    { "mid", "audio/midi" },
    { "mjs", "text/javascript" UTF8 },
    { "mkv", "video/x-matroska" },
    { "mov", "video/quicktime" },
    { "mp3", "audio/mpeg" },
    { "mp4", "video/mp4" },
    { "mpd", "application/dash+xml" },
    { "mpeg", "video/mpeg" },
    { "odp", "application/vnd.oasis.opendocument.presentation" },
    { "ods", "application/vnd.oasis.opendocument.spreadsheet" },
    { "odt", "application/vnd.oasis.opendocument.text" },
    { "oga", "audio/ogg" },
    { "ogg", "audio/ogg" },
    { "ogv", "video/ogg" },
    { "opus", "audio/ogg" },
    { "otf", "font/otf" },
    { "pdf", "application/pdf" },
    { "pem", "text/plain" UTF8 },
    { "png", "image/png" },
    { "ppt", "application/vnd.ms-powerpoint" },
    { "pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation" },
    { "py", "text/x-python" UTF8 },
    { "rar", "application/vnd.rar" },
    { "rss", "application/rss+xml" },
    { "rtf", "application/rtf" },
    { "sh", "text/x-shellscript" UTF8 },
    { "sql", "text/plain" UTF8 },
    { "svg", "image/svg+xml" },
    { "tar", "application/x-tar" },
    { "text", "text/plain" UTF8 },
    { "tif", "image/tiff" },
    { "tiff", "image/tiff" },
    { "toml", "text/plain" UTF8 },
    { "ts", "video/mp2t" },
    { "tsv", "text/tab-separated-values" UTF8 },
    { "ttf", "font/ttf" },
    { "txt", "text/plain" UTF8 },
    { "vcf", "text/vcard" UTF8 },
    { "vtt", "text/vtt" UTF8 },
    { "wasm", "application/wasm" },
    { "wav", "audio/wav" },
    { "weba", "audio/webm" },
    { "webm", "video/webm" },
    { "webmanifest", "application/manifest+json" },
    { "webp", "image/webp" },
    { "woff", "font/woff" },
    { "woff2", "font/woff2" },
    { "xhtml", "application/xhtml+xml" },
    { "xls", "application/vnd.ms-excel" },
    { "xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" },
    { "xml", "text/xml" UTF8 },
    { "xsl", "text/xml" UTF8 },
    { "xz", "application/x-xz" },
    { "yaml", "text/plain" UTF8 },
    { "yml", "text/plain" UTF8 },
    { "zip", "application/zip" },
    { "zst", "application/zstd" },
};

enum { EXTENSION_LIMIT = 16 }; /* longer than any in the table */

struct text web_mime_type(struct text name)
{
    struct text unknown = T("application/octet-stream");
    size_t at = name.len;
    while (at > 0 && name.data[at - 1] != '.' && name.data[at - 1] != '/')
        at--;
    if (at == 0 || name.data[at - 1] != '.' || name.len - at >= EXTENSION_LIMIT)
        return unknown;
    char lower[EXTENSION_LIMIT];
    size_t len = 0;
    for (; at < name.len; at++)
        lower[len++] = text_lower(name.data[at]);
    size_t low = 0, high = COUNT(mime_table);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = text_compare(text_from(lower, len), text_of(mime_table[middle].extension));
        if (order == 0)
            return text_of(mime_table[middle].type);
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return unknown;
}

static const char *const compressible_types[] = {
    "application/javascript",
    "application/json",
    "application/rtf",
    "application/vnd.apple.mpegurl",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/xml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/x-icon",
};

bool web_mime_is_compressible(struct text type)
{
    type = text_trim(text_next(&type, ';'));
    if (type.len > 5 && text_equal_fold(text_from(type.data, 5), T("text/")))
        return !text_equal_fold(type, T("text/event-stream"));
    if (type.len > 5 && text_equal_fold(text_skip(type, type.len - 5), T("+json")))
        return true;
    if (type.len > 4 && text_equal_fold(text_skip(type, type.len - 4), T("+xml")))
        return true;
    for (size_t i = 0; i < COUNT(compressible_types); i++)
        if (text_equal_fold(type, text_of(compressible_types[i])))
            return true;
    return false;
}
