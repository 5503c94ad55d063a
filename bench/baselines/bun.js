// A lobby on Bun's own publish, options left at their defaults.
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.env.PORT),
  fetch(request, server) {
    if (new URL(request.url).pathname === "/ws" && server.upgrade(request)) return;
    return new Response("no such page", { status: 404 });
  },
  websocket: {
    open(socket) {
      socket.subscribe("lobby");
    },
    message(_socket, message) {
      // The server's publish reaches the sender too, the socket's would not.
      server.publish("lobby", message);
    },
  },
});
