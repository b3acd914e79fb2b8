#ifndef APP_PHP_CONFIG_H
#define APP_PHP_CONFIG_H

/* The configuration that php-fpm gets. Pure. */

#include "core/buffer.h"
#include "site/site.h"

/* What the generated pool calls its socket: no file, php-fpm inherits the descriptor. */
#define PHP_SOCKET_NAME "/trilith/php.sock"
#define PHP_PING_PATH "/trilith-ping"

/* ERR_RANGE: a setting cannot be written. {root} in a setting stands for the app's root. */
MUST_CHECK enum err php_config_write(const struct site_app *app, struct buffer *out,
                                     struct why *why);

#endif
