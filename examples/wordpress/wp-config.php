<?php
/* The database is the site's own: Trilith passes it as
 * DATABASE_URL=mysql://USER:PASSWORD@HOST/NAME?unix_socket=PATH */
$url = parse_url(getenv('DATABASE_URL'));
parse_str($url['query'] ?? '', $options);
define('DB_NAME', ltrim($url['path'], '/'));
define('DB_USER', rawurldecode($url['user']));
define('DB_PASSWORD', rawurldecode($url['pass'] ?? ''));
define('DB_HOST', isset($options['unix_socket']) ? 'localhost:' . $options['unix_socket']
                                                 : $url['host'] . ':' . ($url['port'] ?? 3306));
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
$table_prefix = 'wp_';

require __DIR__ . '/keys.php';

/* Where it is found: WP_HOME in app.environment. Without it, where it was asked, which is fine for a
 * try, but lets a visitor choose the links in its mails. */
$scheme = ($_SERVER['HTTPS'] ?? '') === 'on' ? 'https' : 'http';
define('WP_HOME', getenv('WP_HOME') ?: $scheme . '://' . ($_SERVER['HTTP_HOST'] ?? 'localhost'));
define('WP_SITEURL', WP_HOME);

/* New versions come with Debian's package and setup, not by scripts that may write themselves. */
define('DISALLOW_FILE_MODS', true);
define('WP_AUTO_UPDATE_CORE', false);
define('DISALLOW_FILE_EDIT', true);
define('FS_METHOD', 'direct');

if (!defined('ABSPATH')) {
    define('ABSPATH', __DIR__ . '/');
}
require_once ABSPATH . 'wp-settings.php';
