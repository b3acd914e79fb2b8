<?php
/* Plugin Name: Trilith
 * Description: Tells WordPress that links without index.php work here. */
add_filter('got_url_rewrite', '__return_true');
