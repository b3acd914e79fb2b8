/*
 * The table of commands. Help, completion and the tests of the man page read it.
 */
#include "cli/command.h"

const struct command commands[] = {
    { .name = "check",
      .arguments = "SITE",
      .least = 1,
      .most = 1,
      .options = BIT(OPTION_JSON) | BIT(OPTION_QUIET),
      .summary = "Check a site file and name every mistake in it",
      .details =
          "Each mistake is one line: FILE:LINE:COLUMN: KEY: what is wrong, what is allowed.\n"
          "Nothing is started or changed.\n",
      .examples = "  trilith check examples/0-simple.yaml\n",
      .run = command_check },
    { .name = "init",
      .arguments = "SITE",
      .least = 1,
      .most = 1,
      .options = BIT(OPTION_KEY) | BIT(OPTION_STATE) | BIT(OPTION_QUIET),
      .summary = "Give this server the key of a site of several servers",
      .details =
          "The servers of a site prove themselves to each other by one key, from which all\n"
          "passwords between them are made. Run this on one of them, then do what it says for\n"
          "the others. A site of one server needs no init.\n"
          "With `tls: { certificate: local }` it writes the certificate of the site's own CA\n"
          "and says where that is.\n",
      .examples = "  trilith init site.yaml\n"
                  "  ssh root@web-02 trilith init site.yaml --key - < site-key\n",
      .run = command_init },
    { .name = "up",
      .arguments = "SITE",
      .least = 1,
      .most = 1,
      .options = BIT(OPTION_BACKGROUND) | BIT(OPTION_STATE) | BIT(OPTION_QUIET) | BIT(OPTION_JSON),
      .summary = "Run a site of one server on this machine",
      .details =
          "Runs in the foreground until Ctrl-C, with the log on standard error, and prints the\n"
          "URLs on standard output as soon as the site really answers.\n"
          "As root it listens on ports 80 and 53 by default, else on 8080 and 5300.\n",
      .examples = "  trilith up examples/0-simple.yaml\n"
                  "  trilith up -d examples/0-simple.yaml; trilith status; trilith stop\n",
      .run = command_up },
    { .name = "run",
      .arguments = "SITE",
      .least = 1,
      .most = 1,
      .options = BIT(OPTION_SERVER) | BIT(OPTION_BACKGROUND) | BIT(OPTION_STATE) |
                 BIT(OPTION_QUIET) | BIT(OPTION_JSON),
      .summary = "Run one server's part of a site",
      .details =
          "This is what systemd starts on each server (Type=notify: it is ready when the site\n"
          "answers). SIGHUP reloads, SIGTERM ends everything in order, the database last.\n",
      .examples = "  trilith run /etc/trilith/site.yaml --server web-01\n",
      .run = command_run },
    { .name = "status",
      .arguments = "[SITE]",
      .most = 1,
      .options = BIT(OPTION_ALL) | BIT(OPTION_STATE) | BIT(OPTION_JSON),
      .summary = "Say what runs and how it is",
      .details =
          "SITE is a site file or a site's name; without it every site of the state folder is\n"
          "shown. A process that is not well shows its last log lines. With --all, every server "
          "of\n"
          "the site is asked, through the channel between them, and what is not well is named.\n"
          "Exit status: 0 it runs (--all: every server answered), 3 nothing runs there.\n",
      .examples = "  trilith status www.foobar.com --json\n"
                  "  trilith status --all\n",
      .run = command_status },
    { .name = "top",
      .arguments = "[SITE]",
      .most = 1,
      .options = BIT(OPTION_STATE) | BIT(OPTION_JSON),
      .summary = "Watch rates, latencies and states as they are now",
      .details =
          "All figures are of the last second: requests per second, percentiles, what each route,\n"
          "application and backend does, and what is not well. On a terminal it goes on until\n"
          "Ctrl-C; else, and with --json, it measures once.\n",
      .examples = "  trilith top --json | jq .routes\n",
      .run = command_top },
    { .name = "explain",
      .arguments = "URL",
      .least = 1,
      .most = 1,
      .options = BIT(OPTION_METHOD) | BIT(OPTION_HEADER) | BIT(OPTION_FROM) | BIT(OPTION_SITE) |
                 BIT(OPTION_SERVER) | BIT(OPTION_STATE),
      .summary = "Say what would become of a request",
      .details =
          "Prints which route answers URL (or a path), which backend would get it now and why,\n"
          "the request as that backend would see it, and what the rules of the route add to the\n"
          "answer. Nothing is sent. Works without the site running too, with --site FILE.\n",
      .examples = "  trilith explain /shop/cart --from 203.0.113.9\n"
                  "  trilith explain http://www.foobar.com/ -H 'Cookie: server=1' --method POST\n",
      .run = command_explain },
    { .name = "backend",
      .arguments = "list|weight|drain|undrain|add|remove|reset [NAME] [WEIGHT]",
      .least = 1,
      .most = 3,
      .options = BIT(OPTION_SITE) | BIT(OPTION_STATE) | BIT(OPTION_QUIET) | BIT(OPTION_JSON),
      .summary = "Change the backends of a running site, without a reload",
      .details =
          "NAME is one of `trilith backend list`, such as web/web-01 or\n"
          "upstream/api/192.0.2.1:8000; web-01 is enough where no other pool has one.\n"
          "  weight NAME N   give it N shares of the work, 0 to 256 (0: nothing new)\n"
          "  drain NAME      give it nothing new; what it works on is finished\n"
          "  undrain NAME    the contrary\n"
          "  add NAME [N]    add a backend to a pool: POOL/HOST:PORT or POOL/unix:/path\n"
          "  remove NAME     take it out of its pool\n"
          "  reset NAME      as the site file says again\n"
          "It counts at once, survives reloads and restarts, and `trilith status` shows it as a\n"
          "difference from the site file.\n",
      .examples = "  trilith backend drain web-01\n"
                  "  trilith backend add upstream/api/192.0.2.9:8000 2\n",
      .run = command_backend },
    { .name = "alerts",
      .arguments = "[list|silence|unsilence|test|events] [WHAT] [TIME]",
      .most = 3,
      .options = BIT(OPTION_SITE) | BIT(OPTION_STATE) | BIT(OPTION_QUIET) | BIT(OPTION_JSON),
      .summary = "What is wrong now, and who is told of it",
      .details = "Without a word it lists the alerts, each with what follows from it below.\n"
                 "  silence WHAT [TIME]  tell nobody for a while (1h); WHAT is the name of an "
                 "alert, of a\n"
                 "                       server or of what an alert is about; one * is any part\n"
                 "  unsilence WHAT       tell again\n"
                 "  test                 send a test to every receiver\n"
                 "  events               what happened lately\n"
                 "On any server of the site; the monitor answers.\n",
      .examples = "  trilith alerts silence web-01 2h\n"
                  "  trilith alerts silence 'disk-*' 30m\n",
      .run = command_alerts },
    { .name = "reload",
      .arguments = "[SITE]",
      .most = 1,
      .options = BIT(OPTION_STATE) | BIT(OPTION_QUIET) | BIT(OPTION_JSON),
      .summary = "Take over changes of the site file and the application",
      .details =
          "The running site reads its file again. The new configuration serves when all of it\n"
          "works; else the old one goes on and the reason is printed (exit status 1). No\n"
          "request is lost and connections stay open.\n",
      .examples = NULL,
      .run = command_reload },
    { .name = "stop",
      .arguments = "[SITE]",
      .most = 1,
      .options = BIT(OPTION_STATE) | BIT(OPTION_QUIET),
      .summary = "End a running site",
      .details =
          "Requests under way are finished, then everything ends in order, the database last.\n"
          "Returns when all of it has ended.\n",
      .examples = NULL,
      .run = command_stop },
    { .name = "dashboard",
      .arguments = "[SITE]",
      .most = 1,
      .options = BIT(OPTION_STATE) | BIT(OPTION_JSON),
      .summary = "Say where the page of the monitor is, and what opens it",
      .details =
          "Prints the address of the page and the token to log in with. The page listens on\n"
          "127.0.0.1 of the monitor's server alone; from your own machine an ssh tunnel leads\n"
          "there. The token is in secrets/monitor-token of the site's state folder: remove the\n"
          "file and reload, and there is a new one and all who were logged in are not any more.\n",
      .examples = "  trilith dashboard\n"
                  "  trilith dashboard --json | jq -r .token\n",
      .run = command_dashboard },
    { .name = "logs",
      .arguments = "[SITE]",
      .most = 1,
      .options = BIT(OPTION_FOLLOW) | BIT(OPTION_LINES) | BIT(OPTION_ACCESS) | BIT(OPTION_STATUS) |
                 BIT(OPTION_ID) | BIT(OPTION_ALL) | BIT(OPTION_SERVER) | BIT(OPTION_STATE) |
                 BIT(OPTION_JSON),
      .summary = "Print a site's log",
      .details = "The log holds Trilith's own lines and all that the application and the database\n"
                 "print, each with its name. Without --all, --server or --id it is this server's.\n"
                 "With --id both logs of all servers are searched: the way of one request.\n",
      .examples = "  trilith logs -f\n"
                  "  trilith logs www.foobar.com --access -n 20\n"
                  "  trilith logs --all --status 5xx -f\n"
                  "  trilith logs --id 9b2c4f7e01a35d68\n",
      .run = command_logs },
    { .name = "serve",
      .arguments = "DIR",
      .least = 1,
      .most = 1,
      .options = BIT(OPTION_LISTEN) | BIT(OPTION_QUIET) | BIT(OPTION_JSON),
      .summary = "Serve a folder of files over HTTP",
      .details = "Folders without index.html are listed; files whose names start with a dot and\n"
                 "symbolic links are not served.\n",
      .examples = "  trilith serve public --listen 127.0.0.1:8000\n",
      .run = command_serve },
    { .name = "app",
      .arguments = "MODULE:CALLABLE",
      .least = 1,
      .most = 1,
      .options = BIT(OPTION_LISTEN) | BIT(OPTION_WORKERS) | BIT(OPTION_ROOT) | BIT(OPTION_QUIET) |
                 BIT(OPTION_JSON),
      .summary = "Run a WSGI application",
      .details = "Uses ROOT/venv or ROOT/.venv when there is one, else /usr/bin/python3.\n",
      .examples = "  trilith app guestbook:app --root examples/guestbook --workers 4\n",
      .run = command_app },
    { .name = "proxy",
      .arguments = "--to URL",
      .options = BIT(OPTION_TO) | BIT(OPTION_LISTEN) | BIT(OPTION_QUIET) | BIT(OPTION_JSON),
      .summary = "Pass requests on to another HTTP server",
      .details = "",
      .examples = "  trilith proxy --to http://127.0.0.1:9000 --listen :8080\n",
      .run = command_proxy },
    { .name = "schema",
      .arguments = "",
      .options = BIT(OPTION_MARKDOWN),
      .summary = "Print the JSON Schema of site files",
      .details = "Editors use it to complete and check a site file. In VS Code with the YAML\n"
                 "extension, put this line at the top of the file:\n"
                 "  # yaml-language-server: $schema=site.schema.json\n",
      .examples = "  trilith schema > site.schema.json\n",
      .run = command_schema },
    { .name = "help",
      .arguments = "[COMMAND]",
      .most = 1,
      .summary = "Say what the commands do",
      .details = "Without a command it lists them all.\n",
      .run = command_help },
    { .name = "version",
      .arguments = "",
      .options = BIT(OPTION_JSON),
      .summary = "Print the version",
      .details = "",
      .run = command_version },
};
const size_t command_count = COUNT(commands);
