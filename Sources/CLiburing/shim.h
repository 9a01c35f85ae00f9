// liburing.h asks for _XOPEN_SOURCE, which gives glibc's fd_set another member name than in Swift's
// Glibc module. Including features.h first fixes glibc's choices to the defaults Swift has.
#include <features.h>
#include <liburing.h>
