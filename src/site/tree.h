#ifndef SITE_TREE_H
#define SITE_TREE_H

/*
 * The YAML file as a tree of nodes that know where they stand. Private to src/site.
 *
 * Everything outside the small part of YAML that a site file needs is refused with a message: tags,
 * merge keys, several documents. An alias shares the node it names; what it stands for counts
 * against the limit of nodes each time, so a small file cannot become a large tree.
 */

#include "site/site.h"

struct mistakes;

enum {
    TREE_BYTES = 1 << 20, /* a site of hundreds of servers is far below */
    TREE_DEPTH = 32,
    TREE_NODES = 20000,
};

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node_entry {
    const struct node *key; /* a scalar; NULL in a list */
    const struct node *value;
    struct site_place earlier; /* where the same key stands before; line 0: it is the first */
    struct node_entry *next;
};

struct node {
    enum node_kind kind;
    struct site_place place;
    bool is_plain;     /* a scalar without quotes */
    struct text value; /* of a scalar */
    struct node_entry *first;
    size_t count;  /* of entries */
    size_t weight; /* nodes in this subtree with this one */
};

/* Reads source into *root_out (NULL for an empty file). False: the mistake is in *mistakes. */
bool tree_read(struct text source, struct arena *arena, struct mistakes *mistakes,
               const struct node **root_out);

/* The entry of that key (its first, if it is there twice), or NULL. */
const struct node_entry *node_entry_find(const struct node *map, struct text key);

/* The value under that key (its first, if it is there twice), or NULL. */
const struct node *node_find(const struct node *map, struct text key);

/* Nothing is written there: `key:` or `key: ~`. */
bool node_is_null(const struct node *node);

#endif
