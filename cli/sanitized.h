// LONGSPAN_SANITIZED: a sanitizer stands between the program and what it does to its process.
#pragma once

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LONGSPAN_SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LONGSPAN_SANITIZED
#endif
