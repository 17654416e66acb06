// SPDX-License-Identifier: LGPL-2.1-or-later
// XXH3 of 128 bits: finds damage at the speed of memory. It is no defence against forgery; the image's
// directory being root's alone is.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace ks::engine {

class Digest {
 public:
  Digest();
  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) noexcept;
  ~Digest();

  void add(std::span<const std::byte> bytes);
  std::string finish() const;  // 32 hexadecimal digits

  static std::string of(std::string_view bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ks::engine
