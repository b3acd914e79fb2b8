#ifndef WEB_FILES_H
#define WEB_FILES_H

/*
 * Files below static folders, as they can be sent: with validators, siblings that were compressed
 * beforehand (app.js.br), and small contents kept in memory. What is kept is compared with the disk
 * for each turn of the loop; siblings are looked for once a second.
 */

#include "core/clock.h"
#include "core/list.h"
#include "web/encoding.h"

enum {
    FILE_MEMORY_MAX = 65536, /* larger goes from the descriptor, without passing our memory */
    FILE_ETAG_SIZE = 56,
};

enum web_head { WEB_HEAD_WHOLE, WEB_HEAD_NOT_MODIFIED, WEB_HEAD_COUNT };

struct web_body { /* one coding of a file */
    enum { BODY_UNKNOWN, BODY_NONE, BODY_FILE, BODY_MADE } state;
    bool is_checked;          /* siblings: the disk was asked */
    int fd;                   /* >= 0: a large file; take it (set to -1) to send it */
    struct http_blob *memory; /* else its bytes */
    struct http_blob *heads[WEB_HEAD_COUNT]; /* kept heads of answers with it; NULL: not made yet */
    int64_t size;
    char etag[FILE_ETAG_SIZE];
    struct web_identity {
        uint64_t device, inode;
        int64_t modified_ns, changed_ns, size;
    } identity;
};

struct web_file {
    struct list link;
    struct list chain;
    int folder; /* with path the key */
    uint32_t hash;
    bool symlinks;
    bool is_kept;       /* in the table; else it is valid until the next call */
    char *path;         /* below the folder */
    int64_t checked_us; /* last look at the disk: the loop clock, so once per turn */
    int64_t loaded_us;  /* last time it was opened, and siblings with it */
    struct text type;
    bool is_compressible;
    int64_t modified_s;
    char modified[CLOCK_HTTP_SIZE];         /* the same for Last-Modified */
    struct web_body bodies[ENCODING_COUNT]; /* [ENCODING_IDENTITY] is the file itself */
};

struct web_files;

/* memory_bytes: of contents kept in all. */
struct web_files *web_files_new(size_t memory_bytes);
void web_files_free(struct web_files *files); /* accepts NULL */

/* The regular file at path below the folder, valid until the next call on `files`; or NULL with the
 * errno in *error_out (EISDIR for a folder). */
struct web_file *web_files_find(struct web_files *files, int folder, const char *path,
                                bool symlinks, int64_t now_us, int *error_out);

/* What find returned is not needed any more: closes it when it is not kept. */
void web_files_sent(struct web_files *files);

/* Drops all that is kept below the folder: call it before its descriptor is closed. */
void web_files_forget(struct web_files *files, int folder);

/* The sibling with that coding, if there is one that is not older than the file; else NULL. */
struct web_body *web_file_sibling(struct web_files *files, struct web_file *file,
                                  enum web_encoding encoding);

/* For a kept file without a sibling of that coding (ask first): its compressed form, made once.
 * NULL when the file is not kept, or does not get smaller. */
struct web_body *web_file_compressed(struct web_files *files, struct web_file *file,
                                     enum web_encoding encoding);

/* The errno of opening a file as a status: 404, 403, 503, 500. */
int web_file_status(int error);

#endif
