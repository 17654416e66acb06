// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/result.h"

#include <cstring>

namespace ks {

namespace {

constexpr char kForNow[] = "; try again";

}  // namespace

std::unexpected<Error> fail(std::string what, int code) {
  return std::unexpected(Error{.code = code, .what = std::move(what)});
}

std::unexpected<Error> refuse(std::string what) {
  return std::unexpected(Error{.code = 0, .what = std::move(what), .refusal = true});
}

std::unexpected<Error> refuse_for_now(std::string what) { return refuse(for_now(std::move(what))); }

std::string for_now(std::string what) { return is_for_now(what) ? what : std::move(what) + kForNow; }

bool is_for_now(std::string_view text) { return text.ends_with(kForNow); }

std::unexpected<Error> fail_errno(std::string_view what) { return fail_errno(what, errno); }

std::unexpected<Error> fail_errno(std::string_view what, int code) {
  // strerrordesc_np, unlike strerror, is safe among threads.
  const char* text = strerrordesc_np(code);
  return fail(std::string(what) + ": " + (text ? text : "unknown error"), code);
}

}  // namespace ks
