#ifndef LAB_RIGHTS_H
#define LAB_RIGHTS_H

/* Makes the rights that this process has over the lab's namespaces outlive an execve: without root,
 * they come from a user namespace and would end there. As root nothing is to be done. */
void lab_keep_rights(void);

/* The same for the one that a server needs for its firewall (CAP_NET_ADMIN): it belongs to the
 * machine's own network only. */
void lab_keep_firewall_right(void);

#endif
