/*
 * How handshakes end: what OpenSSL says of a failure, in the few words of the counters.
 */
#include "metrics/metrics.h"
#include "stream/tls_private.h"

enum tls_outcome tls_outcome_of(unsigned long error)
{
    static const struct {
        int reason;
        enum tls_outcome outcome;
    } known[] = {
        { SSL_R_UNSUPPORTED_PROTOCOL, TLS_OLD_VERSION },
        { SSL_R_VERSION_TOO_LOW, TLS_OLD_VERSION },
        { SSL_R_WRONG_SSL_VERSION, TLS_OLD_VERSION },
        { SSL_R_UNKNOWN_PROTOCOL, TLS_OLD_VERSION },
        { SSL_R_INAPPROPRIATE_FALLBACK, TLS_OLD_VERSION },
        { SSL_R_NO_SHARED_CIPHER, TLS_NO_SUITE },
        { SSL_R_NO_SHARED_GROUPS, TLS_NO_SUITE },
        { SSL_R_NO_SUITABLE_GROUPS, TLS_NO_SUITE },
        { SSL_R_NO_SUITABLE_KEY_SHARE, TLS_NO_SUITE },
        { SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, TLS_NO_SUITE },
        { SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, TLS_NO_SUITE },
        { SSL_R_CALLBACK_FAILED, TLS_NO_NAME }, /* only the choice of a certificate fails so */
        { SSL_R_NO_APPLICATION_PROTOCOL, TLS_NO_PROTOCOL },
        { SSL_R_HTTP_REQUEST, TLS_PLAIN },
        { SSL_R_HTTPS_PROXY_REQUEST, TLS_PLAIN },
        { SSL_R_WRONG_VERSION_NUMBER, TLS_PLAIN }, /* of a record, not of TLS */
    };
    int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
    if (reason >= SSL_AD_REASON_OFFSET)
        return TLS_CLIENT_ALERT;
    for (size_t i = 0; i < COUNT(known); i++)
        if (known[i].reason == reason)
            return known[i].outcome;
    return TLS_BROKEN;
}

static _Atomic int64_t *counter_of(struct metrics *metrics, enum tls_outcome outcome)
{
    switch (outcome) {
    case TLS_DONE:
        return &metrics->tls_handshakes;
    case TLS_OLD_VERSION:
        return &metrics->tls_failed_version;
    case TLS_NO_SUITE:
        return &metrics->tls_failed_suite;
    case TLS_NO_NAME:
        return &metrics->tls_failed_name;
    case TLS_NO_PROTOCOL:
        return &metrics->tls_failed_protocol;
    case TLS_PLAIN:
        return &metrics->tls_failed_plain;
    case TLS_CLIENT_ALERT:
        return &metrics->tls_failed_alert;
    case TLS_GONE:
        return &metrics->tls_failed_gone;
    case TLS_LATE:
        return &metrics->tls_failed_late;
    case TLS_BROKEN:
        break;
    }
    return &metrics->tls_failed_other;
}

void tls_outcome_count(struct metrics *metrics, enum tls_outcome outcome)
{
    metrics_add(counter_of(metrics, outcome), 1);
}
