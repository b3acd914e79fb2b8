/* In a child each, because a mount namespace is for good. */
#include "process/closed_folder.h"

#include "core/sys.h"
#include "core/test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOME_UID = 60990 };

struct place {
    char top[32], site[64], state[64], file[64];
};

static bool make_place(struct place *place, struct why *why)
{
    snprintf(place->top, sizeof(place->top), "/tmp/trilith-closed-XXXXXX");
    if (mkdtemp(place->top) == NULL)
        return false;
    snprintf(place->site, sizeof(place->site), "%s/clone/site", place->top);
    snprintf(place->state, sizeof(place->state), "%s/clone/site/state", place->top);
    snprintf(place->file, sizeof(place->file), "%s/secret", place->top);
    return sys_make_folder(place->state, 0755, (uid_t)-1, (gid_t)-1, why) == OK &&
           sys_replace_file(place->file, T("x"), 0644, (uid_t)-1, (gid_t)-1, why) == OK;
}

static void remove_place(const struct place *place)
{
    char clone[64];
    unlink(place->file);
    rmdir(place->state);
    rmdir(place->site);
    snprintf(clone, sizeof(clone), "%s/clone", place->top);
    rmdir(clone);
    rmdir(place->top);
}

/* In the child: 0 as wished. */
static int try_way(const struct place *place)
{
    const char *paths[] = { place->state, place->site };
    struct why why;
    struct stat state;
    if (closed_folder_open_way(paths, 2, &why) != OK)
        return fprintf(stderr, "%s\n", why.text) > 0 ? 1 : 2;
    if (setgid(SOME_UID) != 0 || setuid(SOME_UID) != 0)
        return 3;
    if (stat(place->state, &state) != 0 || stat(place->site, &state) != 0)
        return 4;
    return access(place->file, F_OK) == 0 ? 5 : 0; /* the rest is out of sight */
}

TEST(closed_folder_has_a_way_through)
{
    struct place place;
    struct why why = { "" };
    int status = -1;
    if (geteuid() != 0)
        return; /* only root can be behind a closed folder */
    REQUIRE(make_place(&place, &why), "%s", why.text);
    pid_t pid = fork();
    if (pid == 0)
        _exit(try_way(&place));
    waitpid(pid, &status, 0);
    CHECK(status == 0, "child said %d", WEXITSTATUS(status));
    CHECK(access(place.file, F_OK) == 0, "nothing changed outside");
    remove_place(&place);
}

TEST(closed_folder_refuses_what_is_closed_itself)
{
    struct place place;
    struct why why = { "" };
    if (geteuid() != 0)
        return;
    REQUIRE(make_place(&place, &why), "%s", why.text);
    const char *paths[] = { place.state };
    CHECK(chmod(place.state, 0700) == 0, "chmod");
    CHECK(closed_folder_open_way(paths, 1, &why) == ERR_DENIED, "refused");
    CHECK(text_find_text(text_of(why.text), T("chmod o+x")) > 0, "%s", why.text);
    remove_place(&place);
}

TEST(closed_folder_leaves_open_ones_alone)
{
    static const char *const paths[] = { "/usr/bin", "/" };
    struct why why;
    CHECK(closed_folder_open_way(paths, 2, &why) == OK, "nothing to do");
}
