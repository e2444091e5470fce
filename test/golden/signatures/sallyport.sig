sallyport-v1 4d6758c2c9983b7c authz@1.2.0 xkw/GzM+YQskpVtj9F5U70S5YIhfmIk0GE/EbATJBrSXDx7UHlgjdZbm/7hfXHXJsXMPx/qTJ88duvyCBii7AA==
