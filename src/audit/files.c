/*
 * What the files of certificates tell, where they can be read: when one ends, and who may read its
 * key. The only part of an audit that looks beyond the site file.
 */
#include "audit/finding.h"
#include "core/memory.h"
#include "core/sys.h"
#include "stream/x509.h"

#include <sys/stat.h>

enum {
    CHAIN_LIMIT = 1 << 20,
    DAY_S = 86400,
    SOON_S = 30 * DAY_S, /* a CA that is asked by hand, a release, a weekend */
};

/* When the first certificate of the file ends; 0: it cannot be read. */
static int64_t end_of(struct text path)
{
    struct text pem;
    char name[4096];
    int64_t end_s = 0;
    if (!text_copy_to(path, name, sizeof(name)) ||
        sys_read_file(name, CHAIN_LIMIT, &pem, NULL) != OK)
        return 0;
    STACK_OF(X509) *chain = x509_read_chain(pem);
    if (chain != NULL)
        end_s = x509_time_s(X509_get0_notAfter(sk_X509_value(chain, 0)));
    sk_X509_pop_free(chain, X509_free);
    memory_free((void *)pem.data);
    return end_s;
}

static void find_end(struct audit *audit, const struct site_certificate *certificate, int64_t now_s)
{
    int64_t end_s = end_of(certificate->chain), left_s = end_s - now_s;
    if (end_s == 0 || left_s > SOON_S)
        return;
    struct text words =
        left_s <= 0 ? T("It has ended: browsers refuse the site.")
                    : arena_print(audit->arena,
                                  "In %lld days browsers refuse the site, and nobody renews it by "
                                  "itself.",
                                  (long long)(left_s / DAY_S));
    struct finding *finding =
        finding_add(audit, FINDING_CERTIFICATE_ENDS, certificate->chain, certificate->place, words,
                    T("tls: { certificate: acme }\n"));
    if (finding != NULL && left_s <= 0)
        finding->severity = SEVERITY_HIGH;
}

static void find_key(struct audit *audit, const struct site_certificate *certificate)
{
    struct stat status;
    char name[4096];
    if (!text_copy_to(certificate->key, name, sizeof(name)) || stat(name, &status) != 0 ||
        (status.st_mode & (S_IRWXG | S_IRWXO)) == 0)
        return;
    finding_add(audit, FINDING_KEY_READABLE, certificate->key, certificate->place,
                arena_print(audit->arena,
                            "Its mode is %03o: whoever else is on the machine can be the site "
                            "towards browsers.",
                            status.st_mode & 0777u),
                arena_print(audit->arena, "# chmod 600 %s\n", name));
}

void find_files(struct audit *audit, int64_t now_s)
{
    const struct site_tls *tls = &audit->site->tls;
    for (size_t i = 0; i < tls->certificate_count; i++) {
        find_end(audit, &tls->certificates[i], now_s);
        find_key(audit, &tls->certificates[i]);
    }
    findings_sort(audit);
}
