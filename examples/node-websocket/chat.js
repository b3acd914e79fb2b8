// What one says, all hear. A plain GET answers how many are here.
const http = require('node:http');
const { WebSocketServer, WebSocket } = require('ws');

const server = http.createServer((request, response) => {
  response.end(`${chat.clients.size} here\n`);
});

const chat = new WebSocketServer({ server, path: '/chat', maxPayload: 1 << 20 });

chat.on('connection', (client, request) => {
  client.send(`welcome from ${process.pid}`);
  client.on('message', (data, isBinary) => {
    for (const other of chat.clients)
      if (other.readyState === WebSocket.OPEN)
        other.send(data, { binary: isBinary });
  });
  client.on('error', () => client.terminate());
});

server.listen(process.env.PORT, process.env.HOST);

// Trilith asks for the end when nobody is connected any more, or when its patience is over.
process.on('SIGTERM', () => {
  for (const client of chat.clients)
    client.close(1012, 'restarts');
  server.close(() => process.exit(0));
});
