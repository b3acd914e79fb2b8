/*
 * What each process of Trilith uses, by title, out of /proc/PID/stat (proc(5)), which stays open:
 * a descriptor of a process that is gone says so, whoever has its number then. With a process count
 * those it has started (the workers of an application, php-fpm's children), who are looked for
 * every few seconds.
 */
#include "monitor/collect.h"

#include "core/memory.h"
#include "core/sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum {
    CHILDREN_US = 5000000, /* between two looks for new ones */
    MEMBERS = 512,         /* processes that are watched */
    STAT_SIZE = 512,
    CHILDREN_SIZE = 4096,
    DEEPEST = 4, /* children of children of ... */
};

struct member {
    pid_t pid; /* 0: no member */
    int fd;
    uint16_t place; /* of the table of processes */
    bool is_seen;
    uint64_t ticks; /* of processor time the last time */
};

struct usage {
    uint64_t ticks; /* since the last time */
    double memory;
    uint64_t threads;
    bool has_ticks;
};

struct collect_processes {
    struct member members[MEMBERS];
    size_t count; /* places in use, holes included */
    struct usage usage[PROCESS_TABLE_SIZE];
    struct process_view views[PROCESS_TABLE_SIZE];
    bool is_there[PROCESS_TABLE_SIZE];
    int64_t children_us;
    double tick_s, page_bytes;
};

struct collect_processes *collect_processes_new(void)
{
    struct collect_processes *processes = NEW(struct collect_processes);
    processes->tick_s = 1.0 / (double)sysconf(_SC_CLK_TCK);
    processes->page_bytes = (double)sysconf(_SC_PAGESIZE);
    return processes;
}

static void forget(struct member *member)
{
    if (member->pid != 0)
        fd_close(&member->fd);
    *member = (struct member){ 0 };
}

void collect_processes_free(struct collect_processes *processes)
{
    for (size_t i = 0; i < processes->count; i++)
        forget(&processes->members[i]);
    memory_free(processes);
}

/* ---- who ---- */

static struct member *find(struct collect_processes *processes, pid_t pid)
{
    for (size_t i = 0; i < processes->count; i++)
        if (processes->members[i].pid == pid)
            return &processes->members[i];
    return NULL;
}

static void add(struct collect_processes *processes, pid_t pid, size_t place)
{
    char path[64];
    struct member *member = find(processes, pid);
    if (member != NULL && member->place == place) {
        member->is_seen = true;
        return;
    }
    if (member != NULL)
        forget(member);
    member = find(processes, 0); /* a hole */
    if (member == NULL && processes->count < MEMBERS)
        member = &processes->members[processes->count++];
    if (member == NULL)
        return;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        *member = (struct member){
            .pid = pid, .fd = fd, .place = (uint16_t)place, .is_seen = true, .ticks = UINT64_MAX
        };
}

static void add_children(struct collect_processes *processes, pid_t pid, size_t place, int depth)
{
    char path[64], data[CHILDREN_SIZE];
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
    AUTO(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? sys_read(fd, data, sizeof(data)) : 0;
    struct text rest = text_from(data, len > 0 ? (size_t)len : 0);
    while (rest.len > 0) {
        pid_t child = (pid_t)collect_number(&rest);
        if (child <= 0)
            break;
        add(processes, child, place);
        if (depth < DEEPEST)
            add_children(processes, child, place, depth + 1);
    }
}

static void find_members(struct collect_processes *processes, const struct process_table *table,
                         bool with_children)
{
    for (size_t i = 0; i < processes->count; i++)
        processes->members[i].is_seen = false;
    for (size_t place = 0; place < PROCESS_TABLE_SIZE; place++) {
        struct process_view *view = &processes->views[place];
        processes->is_there[place] = process_table_read(table, place, view);
        if (!processes->is_there[place] || view->pid == 0)
            continue;
        add(processes, view->pid, place);
        if (with_children && view->has_children)
            add_children(processes, view->pid, place, 0);
    }
    for (size_t i = 0; i < processes->count; i++) {
        struct member *member = &processes->members[i];
        bool is_root = processes->is_there[member->place] &&
                       processes->views[member->place].pid == member->pid;
        /* children stay between two looks for them, those of a process that is gone do not */
        if (member->pid != 0 && !member->is_seen && (with_children || is_root))
            forget(member);
    }
}

/* ---- how much ---- */

/* "pid (name) state ...": the name may hold anything, also ')'. Fields are numbered from 1. */
static bool read_stat(struct text stat, uint64_t *ticks_out, uint64_t *threads_out,
                      uint64_t *pages_out)
{
    enum { STATE = 3, USER = 14, SYSTEM = 15, THREADS = 20, PAGES = 24 };
    size_t behind = 0;
    for (size_t i = 0; i < stat.len; i++)
        if (stat.data[i] == ')')
            behind = i + 1;
    if (behind == 0 || behind >= stat.len)
        return false;
    struct text rest = text_skip(stat, behind + 1);
    uint64_t ticks = 0;
    for (int field = STATE; field <= PAGES; field++) {
        struct text word = text_next(&rest, ' ');
        if (word.len == 0)
            return false;
        uint64_t value = collect_number(&word);
        if (field == USER || field == SYSTEM)
            ticks += value;
        if (field == THREADS)
            *threads_out = value;
        if (field == PAGES)
            *pages_out = value;
    }
    *ticks_out = ticks;
    return true;
}

static void measure(struct collect_processes *processes, struct member *member)
{
    char data[STAT_SIZE];
    uint64_t ticks = 0, threads = 0, pages = 0;
    struct usage *usage = &processes->usage[member->place];
    ssize_t len = sys_pread(member->fd, data, sizeof(data), 0);
    if (len <= 0 || !read_stat(text_from(data, (size_t)len), &ticks, &threads, &pages)) {
        forget(member);
        return;
    }
    usage->memory += (double)pages * processes->page_bytes;
    usage->threads += threads;
    if (member->ticks != UINT64_MAX) {
        usage->ticks += ticks > member->ticks ? ticks - member->ticks : 0;
        usage->has_ticks = true;
    }
    member->ticks = ticks;
}

static void show(struct collect *collect, const struct process_view *view,
                 const struct usage *usage, double tick_s)
{
    struct collect_name name;
    struct text title = text_of(view->title);
    collect_gauge(collect, collect_name(&name, T("process/"), title, T("/up")),
                  view->pid != 0 && view->is_ready ? 1 : 0);
    collect_gauge(collect, collect_name(&name, T("process/"), title, T("/restarts")),
                  (double)view->restarts);
    if (usage->threads == 0)
        return;
    if (usage->has_ticks && collect->elapsed_s > 0)
        collect_gauge(collect, collect_name(&name, T("process/"), title, T("/cpu")),
                      100.0 * (double)usage->ticks * tick_s / collect->elapsed_s);
    collect_gauge(collect, collect_name(&name, T("process/"), title, T("/memory")), usage->memory);
    collect_gauge(collect, collect_name(&name, T("process/"), title, T("/threads")),
                  (double)usage->threads);
}

void collect_processes(struct collect *collect, int64_t now_us)
{
    struct collect_processes *processes = collect->processes;
    bool with_children =
        processes->children_us == 0 || now_us - processes->children_us >= CHILDREN_US;
    if (with_children)
        processes->children_us = now_us;
    find_members(processes, collect->self->table, with_children);
    memset(processes->usage, 0, sizeof(processes->usage));
    for (size_t i = 0; i < processes->count; i++)
        if (processes->members[i].pid != 0)
            measure(processes, &processes->members[i]);
    for (size_t place = 0; place < PROCESS_TABLE_SIZE; place++)
        if (processes->is_there[place])
            show(collect, &processes->views[place], &processes->usage[place], processes->tick_s);
}
