// SPDX-License-Identifier: LGPL-2.1-or-later
// The namespaces that processes live in (namespaces(7)): those of the unit's sandbox, which systemd makes again, and
// those that processes have made for themselves, which we make again.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/context/dumping.h"
#include "engine/context/restoring.h"
#include "engine/namespaces.pb.h"

namespace ks::engine {

inline constexpr const char* kNamespacesFile = "namespaces.ks";
inline constexpr std::string_view kNamespacesKind = "namespaces";
inline constexpr uint32_t kNamespacesVersion = 1;

// Refuses in `dumping` those that hold what nobody would make again.
Result<image::Namespaces> survey_namespaces(Dumping& dumping);

// All of an image, made or found in the process `into` (0: none), which is in the sandbox.
Result<MadeNamespaces> make_namespaces(const image::Namespaces& wanted, pid_t into);

// Enters all of a process but its user namespace.
Result<> join_namespaces(const Restoring& restoring, RestoredProcess& process);

}  // namespace ks::engine
