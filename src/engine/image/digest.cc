// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/digest.h"

#include <fmt/format.h>
#include <xxhash.h>
#if HAVE_XXHASH_DISPATCH
#include <xxh_x86dispatch.h>  // AVX2 and AVX-512 where the CPU has them: twice as fast
#endif

namespace ks::engine {

namespace {

// The canonical form, as `xxhsum -H2` prints it.
std::string to_hex(XXH128_hash_t hash) { return fmt::format("{:016x}{:016x}", hash.high64, hash.low64); }

}  // namespace

struct Digest::State {
  State() : state(XXH3_createState()) {
    if (!state) throw std::bad_alloc();
    XXH3_128bits_reset(state);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { XXH3_freeState(state); }
  XXH3_state_t* state;
};

Digest::Digest() : state_(std::make_unique<State>()) {}
Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;
Digest::~Digest() = default;

void Digest::add(std::span<const std::byte> bytes) { XXH3_128bits_update(state_->state, bytes.data(), bytes.size()); }

std::string Digest::finish() const { return to_hex(XXH3_128bits_digest(state_->state)); }

std::string Digest::of(std::string_view bytes) { return to_hex(XXH3_128bits(bytes.data(), bytes.size())); }

}  // namespace ks::engine
