// SPDX-License-Identifier: LGPL-2.1-or-later
// Network interfaces have numbers that another kernel may give otherwise: in an image they have names.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "engine/inet_socket.pb.h"
#include "engine/socket_state.pb.h"

namespace ks::engine::inet_socket {

Result<std::string> interface_name(uint32_t number);
Result<uint32_t> interface_number(const std::string& name);

// The interface of a link-local address, empty for others; and the address with the number that it has now.
Result<std::string> scope_of(std::string_view address);
Result<std::string> address_now(std::string address, const std::string& scope);

// Options whose value is an interface.
bool names_interface(const image::SocketState::Option& option);
Result<> name_interfaces(const image::SocketState& state, image::InetSocket& out);
Result<> apply_interfaces(int fd, const image::InetSocket& socket);

// IP_MULTICAST_IF, which takes an interface and shows an address.
Result<> name_multicast_interface(image::SocketState& state, uint32_t number, image::InetSocket& out);
Result<> apply_multicast_interface(int fd, const image::InetSocket& socket);

}  // namespace ks::engine::inet_socket
