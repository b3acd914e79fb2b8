#ifndef CORE_OPENSSL_H
#define CORE_OPENSSL_H

/* OpenSSL's headers. One of its types has the name of one of our error codes (ERR_STATE); no code
 * needs that type, so it gets another name here. */

#define ERR_STATE openssl_error_state
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>
#undef ERR_STATE

#endif
