// A lobby on the ws package, the loop of its documentation, options left at their defaults.
import { WebSocket, WebSocketServer } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.env.PORT), path: "/ws" });

server.on("connection", (socket) => {
  socket.on("error", console.error);
  socket.on("message", (data, binary) => {
    for (const client of server.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary });
    }
  });
});
