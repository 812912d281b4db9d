/* The files of admin/web/ as they travel inside the program: each as it is, and packed. */
#ifndef ADMIN_FILES_H
#define ADMIN_FILES_H

#include "common/embedded.h"

/** Made at build time by common/embed.sh: "web/x.js" and "web/x.js.gz". */
extern const struct embedded admin_files[];

#endif
