/*
 * YAML -> tree of nodes, from libyaml's events. The stack is fixed (TREE_DEPTH), nodes are counted,
 * and the bytes are looked at before libyaml sees them, so that binary files and files that are not
 * UTF-8 get a message with a place.
 */
#include "site/tree.h"

#include "core/memory.h"
#include "site/mistakes.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

struct anchor {
    struct text name;
    const struct node *node;
    struct anchor *next;
};

struct frame {
    struct node *node;
    struct node_entry *last;
    const struct node *key; /* of a map: read already, its value comes next */
    struct text anchor;
};

struct tree {
    struct text source;
    struct arena *arena;
    struct mistakes *mistakes;
    struct frame frames[TREE_DEPTH];
    size_t depth;
    size_t nodes;
    struct anchor *anchors;
    const struct node *root;
    bool is_done;
};

static struct site_place place_of(yaml_mark_t mark)
{
    return (struct site_place){ (int)mark.line + 1, (int)mark.column + 1 };
}

static bool refuse(struct tree *tree, struct site_place place, const char *message)
{
    mistakes_add(tree->mistakes, place, NULL, "%s", message);
    return false;
}

/* ---- the bytes ---- */

static size_t utf8_step(const unsigned char *at, size_t left)
{
    size_t length = at[0] < 0x80 ? 1 : at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if ((at[0] >= 0x80 && at[0] < 0xc2) || at[0] > 0xf4 || length > left)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    }
    bool is_surrogate = at[0] == 0xed && at[1] >= 0xa0;
    bool is_overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    return is_surrogate || is_overlong || (at[0] == 0xf4 && at[1] >= 0x90) ? 0 : length;
}

static bool check_bytes(struct tree *tree)
{
    const unsigned char *data = (const unsigned char *)tree->source.data;
    struct site_place place = { 1, 1 };
    if (tree->source.len > TREE_BYTES)
        return refuse(tree, place, "the file is larger than 1 MiB; is this the right file?");
    if (tree->source.len >= 2 && (data[0] ^ data[1]) == 1 && data[0] >= 0xfe)
        return refuse(tree, place, "the file is UTF-16; save it as UTF-8");
    for (size_t i = 0; i < tree->source.len;) {
        size_t length = utf8_step(data + i, tree->source.len - i);
        if (length == 0)
            return refuse(tree, place, "this byte is not UTF-8; save the file as UTF-8 text");
        bool is_blank = data[i] == '\n' || data[i] == '\r' || data[i] == '\t';
        if ((data[i] < 0x20 && !is_blank) || data[i] == 0x7f)
            return refuse(tree, place,
                          "a control character stands here; a site file is plain text");
        place.column++;
        if (data[i] == '\n')
            place = (struct site_place){ place.line + 1, 1 };
        i += length;
    }
    return true;
}

/* ---- what libyaml says, in words that help ---- */

/* Which of libyaml's marks the message stands at: where it noticed, or where the thing began. */
enum mark { MARK_PROBLEM, MARK_START };

static const struct {
    const char *theirs; /* part of libyaml's problem */
    enum mark mark;
    const char *ours; /* %d: the line where the thing began */
} problems[] = {
    { "cannot start any token", MARK_PROBLEM,
      "a value cannot start with this character; put it in quotes (\"...\")" },
    { "mapping values are not allowed", MARK_PROBLEM,
      "a ': ' cannot stand here: is this line indented too far, or does a value need quotes?" },
    { "could not find expected ':'", MARK_START,
      "a key without ':' behind it; write `key: value`" },
    { "did not find expected key", MARK_PROBLEM,
      "this does not fit here: is the line indented like the keys above it, are quotes closed?" },
    { "did not find expected '-' indicator", MARK_PROBLEM,
      "an item of the list of line %d was expected; each one starts with '- ' in the same column" },
    { "did not find expected ',' or '}'", MARK_PROBLEM,
      "a ',' or '}' was expected: is the '{' of line %d closed?" },
    { "did not find expected ',' or ']'", MARK_PROBLEM,
      "a ',' or ']' was expected: is the '[' of line %d closed?" },
    { "found unexpected end of stream", MARK_START,
      "the quote that starts here is never closed; add the closing one" },
    { "found unexpected document indicator", MARK_START,
      "the quote that starts here is never closed; add the closing one" },
    { "block sequence entries are not allowed", MARK_PROBLEM,
      "a list item cannot start here; put it on a line of its own" },
    { "mapping keys are not allowed", MARK_PROBLEM,
      "a key cannot start here; check the indentation" },
    { "did not find expected <document start>", MARK_PROBLEM,
      "text behind the end of the site; check the indentation of this line" },
    { "did not find expected node content", MARK_PROBLEM, "a value was expected here" },
    { "alphabetic or numeric character", MARK_START,
      "a value that starts with '*' or '&' needs quotes, like \"*.example.com\"" },
    { "unknown escape character", MARK_PROBLEM,
      "an unknown \\ escape inside double quotes; use single quotes or write \\\\" },
};

static bool refuse_syntax(struct tree *tree, const yaml_parser_t *parser)
{
    struct site_place place = place_of(parser->problem_mark);
    struct site_place start = place_of(parser->context_mark);
    const char *problem = parser->problem != NULL ? parser->problem : "not valid YAML";
    size_t at = parser->problem_mark.index;
    if (at < tree->source.len && tree->source.data[at] == '\t')
        return refuse(tree, place, "a tab stands here; indent with spaces only");
    for (size_t i = 0; i < COUNT(problems); i++) {
        if (strstr(problem, problems[i].theirs) == NULL)
            continue;
        char line[16], message[160];
        const char *rest = strstr(problems[i].ours, "%d");
        size_t before = rest != NULL ? (size_t)(rest - problems[i].ours) : 0;
        snprintf(line, sizeof(line), "%d", start.line);
        snprintf(message, sizeof(message), "%.*s%s%s", (int)before, problems[i].ours,
                 rest != NULL ? line : problems[i].ours, rest != NULL ? rest + 2 : "");
        return refuse(tree, problems[i].mark == MARK_START ? start : place, message);
    }
    mistakes_add(tree->mistakes, place, NULL, "not valid YAML: %s", problem);
    return false;
}

/* ---- nodes ---- */

static bool count_nodes(struct tree *tree, size_t more, struct site_place place)
{
    tree->nodes += more;
    if (tree->nodes <= TREE_NODES)
        return true;
    return refuse(tree, place, "too many values in one file (more than 20000)");
}

static struct node *new_node(struct tree *tree, enum node_kind kind, yaml_mark_t mark)
{
    struct node *node = ARENA_NEW(tree->arena, struct node);
    if (node == NULL || !count_nodes(tree, 1, place_of(mark)))
        return NULL;
    node->kind = kind;
    node->place = place_of(mark);
    node->weight = 1;
    return node;
}

static void keep_anchor(struct tree *tree, struct text name, const struct node *node)
{
    if (text_is_empty(name))
        return;
    struct anchor *anchor = ARENA_NEW(tree->arena, struct anchor);
    if (anchor == NULL)
        return;
    *anchor = (struct anchor){ name, node, tree->anchors };
    tree->anchors = anchor;
}

/* Puts a finished value where it belongs: the root, an item, a key or the value of a key. */
static bool put(struct tree *tree, const struct node *node)
{
    if (tree->depth == 0) {
        tree->root = node;
        return true;
    }
    struct frame *frame = &tree->frames[tree->depth - 1];
    if (frame->node->kind == NODE_MAP && frame->key == NULL) {
        if (node->kind != NODE_SCALAR)
            return refuse(tree, node->place, "a key must be one word, not a list or a map");
        if (text_equal(node->value, T("<<")) && node->is_plain)
            return refuse(tree, node->place, "merge keys (<<) are not supported; repeat the keys");
        frame->key = node;
        frame->node->weight++;
        return true;
    }
    struct node_entry *entry = ARENA_NEW(tree->arena, struct node_entry);
    if (entry == NULL)
        return false;
    *entry = (struct node_entry){ .key = frame->key, .value = node };
    if (frame->last != NULL)
        frame->last->next = entry;
    else
        frame->node->first = entry;
    frame->last = entry;
    frame->key = NULL;
    frame->node->count++;
    frame->node->weight += node->weight;
    return true;
}

static int compare_keys(const void *left, const void *right)
{
    const struct node_entry *a = *(struct node_entry *const *)left;
    const struct node_entry *b = *(struct node_entry *const *)right;
    int order = text_compare(a->key->value, b->key->value);
    if (order != 0)
        return order;
    if (a->key->place.line != b->key->place.line)
        return a->key->place.line < b->key->place.line ? -1 : 1;
    return a->key->place.column < b->key->place.column ? -1 : 1;
}

/* Marks each key that stands in the map before. */
static void mark_twins(struct node *map)
{
    if (map->count < 2)
        return;
    struct node_entry **sorted = memory_new_array(map->count, sizeof(*sorted));
    size_t count = 0;
    for (struct node_entry *entry = map->first; entry != NULL; entry = entry->next)
        sorted[count++] = entry;
    qsort(sorted, count, sizeof(*sorted), compare_keys);
    for (size_t i = 1; i < count; i++) {
        if (text_equal(sorted[i]->key->value, sorted[i - 1]->key->value))
            sorted[i]->earlier = sorted[i - 1]->key->place;
    }
    memory_free(sorted);
}

/* ---- events ---- */

static bool check_tag(struct tree *tree, const yaml_char_t *tag, yaml_mark_t mark)
{
    if (tag == NULL || strcmp((const char *)tag, "!") == 0)
        return true;
    return refuse(tree, place_of(mark),
                  "tags (words that start with '!') are not used in site files");
}

static struct text copy_anchor(struct tree *tree, const yaml_char_t *anchor)
{
    struct text none = { NULL, 0 };
    return anchor != NULL ? arena_copy(tree->arena, text_of((const char *)anchor)) : none;
}

static bool on_start(struct tree *tree, enum node_kind kind, const yaml_char_t *anchor,
                     const yaml_char_t *tag, yaml_mark_t mark)
{
    if (tree->depth == TREE_DEPTH)
        return refuse(tree, place_of(mark), "nested too deeply (more than 32 levels)");
    struct node *node = new_node(tree, kind, mark);
    if (node == NULL || !check_tag(tree, tag, mark))
        return false;
    tree->frames[tree->depth++] =
        (struct frame){ .node = node, .anchor = copy_anchor(tree, anchor) };
    return true;
}

static bool on_end(struct tree *tree)
{
    assert(tree->depth > 0); /* libyaml pairs its events */
    struct frame *frame = &tree->frames[--tree->depth];
    assert(frame->node != NULL);
    if (frame->node->kind == NODE_MAP)
        mark_twins(frame->node);
    keep_anchor(tree, frame->anchor, frame->node);
    return put(tree, frame->node);
}

static bool on_scalar(struct tree *tree, const yaml_event_t *event)
{
    struct node *node = new_node(tree, NODE_SCALAR, event->start_mark);
    if (node == NULL || !check_tag(tree, event->data.scalar.tag, event->start_mark))
        return false;
    struct text value =
        text_from((const char *)event->data.scalar.value, event->data.scalar.length);
    node->value = arena_copy(tree->arena, value);
    node->is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (memchr(value.data, '\0', value.len) != NULL)
        return refuse(tree, node->place, "a NUL character (\\0) is not allowed in a value");
    keep_anchor(tree, copy_anchor(tree, event->data.scalar.anchor), node);
    return put(tree, node);
}

static bool on_alias(struct tree *tree, const yaml_event_t *event)
{
    struct site_place place = place_of(event->start_mark);
    struct text name = text_of((const char *)event->data.alias.anchor);
    char word[SHOWN_SIZE];
    for (const struct anchor *anchor = tree->anchors; anchor != NULL; anchor = anchor->next) {
        if (!text_equal(anchor->name, name))
            continue;
        return count_nodes(tree, anchor->node->weight, place) && put(tree, anchor->node);
    }
    mistakes_add(tree->mistakes, place, NULL,
                 "alias '*%s' has no anchor '&%s' before it; if it is text, put it in quotes",
                 shown(name, word), word);
    return false;
}

static bool on_event(struct tree *tree, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SEQUENCE_START_EVENT:
        return on_start(tree, NODE_LIST, event->data.sequence_start.anchor,
                        event->data.sequence_start.tag, event->start_mark);
    case YAML_MAPPING_START_EVENT:
        return on_start(tree, NODE_MAP, event->data.mapping_start.anchor,
                        event->data.mapping_start.tag, event->start_mark);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return on_end(tree);
    case YAML_SCALAR_EVENT:
        return on_scalar(tree, event);
    case YAML_ALIAS_EVENT:
        return on_alias(tree, event);
    case YAML_DOCUMENT_START_EVENT:
        if (tree->root != NULL)
            return refuse(tree, place_of(event->start_mark),
                          "a second document (---) starts here; a site is one document");
        return true;
    case YAML_STREAM_END_EVENT:
        tree->is_done = true;
        return true;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return true;
    }
    return true;
}

bool tree_read(struct text source, struct arena *arena, struct mistakes *mistakes,
               const struct node **root_out)
{
    bool has_mark = text_starts_with(source, T("\xef\xbb\xbf")); /* some editors write it */
    if (has_mark)
        source = text_skip(source, 3);
    struct tree tree = { .source = source, .arena = arena, .mistakes = mistakes };
    yaml_parser_t parser;
    bool is_good = check_bytes(&tree);
    if (!is_good || !yaml_parser_initialize(&parser))
        return false;
    yaml_parser_set_input_string(&parser, (const unsigned char *)source.data, source.len);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    while (is_good && !tree.is_done) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            is_good = refuse_syntax(&tree, &parser);
            break;
        }
        is_good = on_event(&tree, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    if (is_good)
        *root_out = tree.root;
    return is_good;
}

const struct node_entry *node_entry_find(const struct node *map, struct text key)
{
    if (map == NULL || map->kind != NODE_MAP)
        return NULL;
    for (const struct node_entry *entry = map->first; entry != NULL; entry = entry->next) {
        if (text_equal(entry->key->value, key))
            return entry;
    }
    return NULL;
}

const struct node *node_find(const struct node *map, struct text key)
{
    const struct node_entry *entry = node_entry_find(map, key);
    return entry != NULL ? entry->value : NULL;
}

bool node_is_null(const struct node *node)
{
    if (node->kind != NODE_SCALAR || !node->is_plain)
        return false;
    return text_is_empty(node->value) || text_equal(node->value, T("~")) ||
           text_equal(node->value, T("null"));
}
