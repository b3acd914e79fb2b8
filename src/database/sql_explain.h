#ifndef DATABASE_SQL_EXPLAIN_H
#define DATABASE_SQL_EXPLAIN_H

/* `trilith sql explain [--sql-mode MODES] STATEMENT ... | --file PATH`: one line for each
 * statement; in a file a NUL stands behind each. Returns the exit status. */
int sql_explain(int count, char **words);

#endif
