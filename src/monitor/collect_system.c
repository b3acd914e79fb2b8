/*
 * The machine, out of /proc (proc(5)): processor, memory, pressure, disks, network, and how full
 * the file systems are. In a lab all servers are on one machine: only the network is their own.
 */
#include "monitor/collect.h"

#include "core/memory.h"

#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    SMALL = 4096,
    LARGE = 32768,
    SECTOR = 512, /* of /proc/diskstats, whatever the disk has */
    DISKS = 16,   /* shown; a machine with more has them summed up nowhere else, too */
    INTERFACES = 32,
};

enum pressure { PRESSURE_CPU, PRESSURE_IO, PRESSURE_MEMORY, PRESSURES };

struct collect_system {
    struct collect_file stat, load, memory, network, tcp, disks;
    struct collect_file pressure[PRESSURES];
    struct collect_name unwanted[64]; /* names of /proc/diskstats that are no whole disks */
    size_t unwanted_count;
    uint64_t cpu[8];          /* the line "cpu" */
    double processors, ticks; /* how many; of one in a second */
};

struct collect_system *collect_system_new(void)
{
    struct collect_system *system = NEW(struct collect_system);
    system->ticks = (double)sysconf(_SC_CLK_TCK);
    collect_file_open(&system->stat, "/proc/stat", SMALL);
    collect_file_open(&system->load, "/proc/loadavg", 128);
    collect_file_open(&system->memory, "/proc/meminfo", SMALL);
    collect_file_open(&system->network, "/proc/self/net/dev", LARGE);
    collect_file_open(&system->tcp, "/proc/self/net/snmp", SMALL);
    collect_file_open(&system->disks, "/proc/diskstats", LARGE);
    collect_file_open(&system->pressure[PRESSURE_CPU], "/proc/pressure/cpu", 512);
    collect_file_open(&system->pressure[PRESSURE_IO], "/proc/pressure/io", 512);
    collect_file_open(&system->pressure[PRESSURE_MEMORY], "/proc/pressure/memory", 512);
    return system;
}

void collect_system_free(struct collect_system *system)
{
    collect_file_close(&system->stat);
    collect_file_close(&system->load);
    collect_file_close(&system->memory);
    collect_file_close(&system->network);
    collect_file_close(&system->tcp);
    collect_file_close(&system->disks);
    for (size_t i = 0; i < PRESSURES; i++)
        collect_file_close(&system->pressure[i]);
    memory_free(system);
}

/* ---- processor ---- */

enum { USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL, CPU_FIELDS };

/* A share of all processors' time, in %; ticks: of it, since boot. */
static void add_share(struct collect *collect, const char *name, uint64_t ticks)
{
    const struct collect_system *system = collect->system;
    size_t at = sample_use(&collect->table, SAMPLE_RATE, text_of(name));
    if (at == SAMPLE_NONE)
        return;
    collect_counter(collect, text_of(name), (int64_t)ticks,
                    100.0 / (system->ticks * system->processors));
    double *value = &collect->table.series[at].value;
    if (*value > 100) /* a tick may fall into the next second */
        *value = 100;
}

static void add_cpu(struct collect *collect)
{
    struct collect_system *system = collect->system;
    struct text all = collect_file_read(&system->stat), line = text_next(&all, '\n');
    uint64_t *cpu = system->cpu, busy = 0;
    if (!text_starts_with(line, T("cpu ")))
        return;
    for (size_t i = 0; i < CPU_FIELDS; i++) {
        uint64_t now = collect_number(&line);
        cpu[i] = now > cpu[i] ? now : cpu[i]; /* the kernel's iowait may step back a little */
        busy += i != IDLE && i != IOWAIT ? cpu[i] : 0;
    }
    system->processors = (double)sysconf(_SC_NPROCESSORS_ONLN);
    add_share(collect, "cpu.user", cpu[USER] + cpu[NICE]);
    add_share(collect, "cpu.system", cpu[SYSTEM] + cpu[IRQ] + cpu[SOFTIRQ]);
    add_share(collect, "cpu.iowait", cpu[IOWAIT]);
    add_share(collect, "cpu.steal", cpu[STEAL]);
    add_share(collect, "cpu.idle", cpu[IDLE]);
    add_share(collect, "cpu.busy", busy);
    collect_gauge(collect, T("cpu.count"), system->processors);
}

static void add_load(struct collect *collect)
{
    struct text load = collect_file_read(&collect->system->load);
    if (load.len == 0)
        return;
    double whole = (double)collect_number(&load), hundredths = (double)collect_number(&load);
    collect_gauge(collect, T("load.1"), whole + hundredths / 100);
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=123", then "full ...": microseconds. */
static void add_pressure_line(struct collect *collect, struct text line, const char *name)
{
    ssize_t at = text_find_text(line, T("total="));
    struct text rest = text_skip(line, at >= 0 ? (size_t)at : line.len);
    if (rest.len > 0)
        collect_counter(collect, text_of(name), (int64_t)collect_number(&rest), 1e-4); /* % */
}

static void add_pressure(struct collect *collect)
{
    static const char *const some[] = { "psi.cpu", "psi.io", "psi.memory" };
    static const char *const full[] = { NULL, "psi.io_full", "psi.memory_full" };
    for (size_t i = 0; i < PRESSURES; i++) {
        struct text text = collect_file_read(&collect->system->pressure[i]);
        add_pressure_line(collect, text_next(&text, '\n'), some[i]);
        if (full[i] != NULL)
            add_pressure_line(collect, text_next(&text, '\n'), full[i]);
    }
}

/* ---- memory ---- */

static void add_memory(struct collect *collect)
{
    enum { TOTAL, AVAILABLE, BUFFERS, CACHED, SWAP_TOTAL, SWAP_FREE, FIELDS };
    static const char *const names[FIELDS] = { "MemTotal:", "MemAvailable:", "Buffers:",
                                               "Cached:",   "SwapTotal:",    "SwapFree:" };
    double bytes[FIELDS] = { 0 };
    struct text all = collect_file_read(&collect->system->memory);
    size_t found = 0;
    while (all.len > 0 && found < FIELDS) {
        struct text line = text_next(&all, '\n');
        size_t i = 0;
        while (i < FIELDS && !text_starts_with(line, text_of(names[i])))
            i++;
        if (i == FIELDS)
            continue;
        bytes[i] = (double)collect_number(&line) * 1024;
        found++;
    }
    if (bytes[TOTAL] == 0)
        return;
    collect_gauge(collect, T("memory.total"), bytes[TOTAL]);
    collect_gauge(collect, T("memory.available"), bytes[AVAILABLE]);
    collect_gauge(collect, T("memory.used"), bytes[TOTAL] - bytes[AVAILABLE]);
    collect_gauge(collect, T("memory.cached"), bytes[BUFFERS] + bytes[CACHED]);
    collect_gauge(collect, T("memory.swap_used"), bytes[SWAP_TOTAL] - bytes[SWAP_FREE]);
}

/* ---- disks ---- */

/* Partitions have no entry there, only below their disk. */
static bool is_whole_disk(struct collect_system *system, struct text device)
{
    struct collect_name path;
    static const char *const no_disk[] = { "loop", "ram", "zram", "dm-", "md", "sr", "fd" };
    for (size_t i = 0; i < system->unwanted_count; i++)
        if (text_equal(text_from(system->unwanted[i].data, system->unwanted[i].len), device))
            return false;
    bool is_unwanted = device.len == 0;
    for (size_t i = 0; i < COUNT(no_disk); i++)
        is_unwanted = is_unwanted || text_starts_with(device, text_of(no_disk[i]));
    collect_name(&path, T("/sys/block/"), device, T(""));
    path.data[path.len] = '\0';
    if (!is_unwanted && access(path.data, F_OK) == 0)
        return true;
    if (system->unwanted_count < COUNT(system->unwanted))
        collect_name(&system->unwanted[system->unwanted_count++], device, T(""), T(""));
    return false;
}

/* Fields behind the name: reads, merged, sectors, ms, writes, merged, sectors, ms, in flight, ms
 * busy. */
static void add_disk(struct collect *collect, struct text device, struct text fields)
{
    struct collect_name name;
    uint64_t values[10];
    for (size_t i = 0; i < COUNT(values); i++)
        values[i] = collect_number(&fields);
    collect_counter(collect, collect_name(&name, T("disk/"), device, T("/read")),
                    (int64_t)values[2], SECTOR);
    collect_counter(collect, collect_name(&name, T("disk/"), device, T("/write")),
                    (int64_t)values[6], SECTOR);
    collect_counter(collect, collect_name(&name, T("disk/"), device, T("/reads")),
                    (int64_t)values[0], 1);
    collect_counter(collect, collect_name(&name, T("disk/"), device, T("/writes")),
                    (int64_t)values[4], 1);
    collect_counter(collect, collect_name(&name, T("disk/"), device, T("/busy")),
                    (int64_t)values[9], 0.1); /* ms per s: % */
}

static void add_disks(struct collect *collect)
{
    struct text all = collect_file_read(&collect->system->disks);
    size_t count = 0;
    while (all.len > 0 && count < DISKS) {
        struct text line = text_next(&all, '\n');
        (void)collect_number(&line);
        (void)collect_number(&line);
        line = text_trim(line);
        struct text device = text_next(&line, ' ');
        if (!is_whole_disk(collect->system, device))
            continue;
        add_disk(collect, device, line);
        count++;
    }
}

static void add_space(struct collect *collect, const char *path, struct text total,
                      struct text free_name)
{
    struct statvfs space;
    if (statvfs(path, &space) != 0 || space.f_blocks == 0)
        return;
    collect_gauge(collect, total, (double)space.f_blocks * (double)space.f_frsize);
    collect_gauge(collect, free_name, (double)space.f_bavail * (double)space.f_frsize);
}

static void add_spaces(struct collect *collect)
{
    char path[512];
    if (text_copy_to(collect->generation->state, path, sizeof(path)))
        add_space(collect, path, T("disk.total"), T("disk.free"));
    add_space(collect, "/", T("disk///total"), T("disk///free"));
}

/* ---- network ---- */

/* "  eth0: bytes packets errs drop fifo frame compressed multicast bytes packets errs drop ..." */
static void add_interface(struct collect *collect, struct text interface, struct text fields,
                          uint64_t sums[2])
{
    struct collect_name name;
    uint64_t values[12];
    for (size_t i = 0; i < COUNT(values); i++)
        values[i] = collect_number(&fields);
    sums[0] += values[0];
    sums[1] += values[8];
    collect_counter(collect, collect_name(&name, T("net/"), interface, T("/rx")),
                    (int64_t)values[0], 1);
    collect_counter(collect, collect_name(&name, T("net/"), interface, T("/tx")),
                    (int64_t)values[8], 1);
    collect_counter(collect, collect_name(&name, T("net/"), interface, T("/errors")),
                    (int64_t)(values[2] + values[10]), 1);
    collect_counter(collect, collect_name(&name, T("net/"), interface, T("/drops")),
                    (int64_t)(values[3] + values[11]), 1);
}

static void add_network(struct collect *collect)
{
    struct text all = collect_file_read(&collect->system->network);
    uint64_t sums[2] = { 0 };
    size_t count = 0;
    if (all.len == 0)
        return;
    while (all.len > 0 && count < INTERFACES) {
        struct text line = text_next(&all, '\n');
        ssize_t colon = text_find(line, ':');
        if (colon < 0)
            continue; /* the two lines of titles */
        struct text interface = text_trim(text_part(line, 0, (size_t)colon));
        if (text_equal(interface, T("lo")))
            continue;
        add_interface(collect, interface, text_skip(line, (size_t)colon + 1), sums);
        count++;
    }
    collect_counter(collect, T("net.rx"), (int64_t)sums[0], 1);
    collect_counter(collect, T("net.tx"), (int64_t)sums[1], 1);
}

/* The second line "Tcp:" has the values to the names in the first: the 9th is what is open now, the
 * 12th what was sent again. */
static void add_tcp(struct collect *collect)
{
    enum { OPEN = 9, RESENT = 12 };
    struct text all = collect_file_read(&collect->system->tcp);
    bool has_names = false;
    while (all.len > 0) {
        struct text line = text_next(&all, '\n');
        if (!text_starts_with(line, T("Tcp:")))
            continue;
        if (!has_names) {
            has_names = true;
            continue;
        }
        line = text_skip(line, 5);
        for (int i = 1; i <= RESENT; i++) {
            struct text word = text_next(&line, ' ');
            uint64_t value = collect_number(&word);
            if (i == OPEN)
                collect_gauge(collect, T("net.open"), (double)value);
            if (i == RESENT)
                collect_counter(collect, T("net.resent"), (int64_t)value, 1);
        }
        return;
    }
}

void collect_system(struct collect *collect)
{
    add_cpu(collect);
    add_load(collect);
    add_pressure(collect);
    add_memory(collect);
    add_disks(collect);
    add_spaces(collect);
    add_network(collect);
    add_tcp(collect);
}
